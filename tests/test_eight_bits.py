"""Linear layers in eight bits: near the exact ones, and the same for a row whatever lies beside it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.serving.eight_bits import Listening, Plain, available, balanced, layers, steps_of
from tutelage.serving.threads import quiet_threads

quiet_threads()
torch: Any = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not available(torch), reason="this processor has no fast product of bytes")
KINDS = available(torch)


def pair(kind: Any, inputs: int, outputs: int, bias: bool) -> tuple[Any, Plain]:
    torch.manual_seed(inputs)
    weight, added = torch.randn(outputs, inputs) * 0.05, torch.randn(outputs) if bias else None
    return kind(torch, weight, added), Plain(torch, weight, added)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(
    inputs=st.sampled_from([16, 64, 200]),
    count=st.integers(1, 40),
    size=st.sampled_from([1e-6, 1.0, 1e4]),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_near_the_exact_product(kind: Any, inputs: int, count: int, size: float, bias: bool, seed: int) -> None:
    eight, plain = pair(kind, inputs, 48, bias)
    rows = torch.randn(count, inputs, generator=torch.Generator().manual_seed(seed)) * size
    wrong = (eight(rows) - plain(rows)).abs()
    # Half a step of the inputs and half a step of the weights, as if all erred to the same side.
    steps = steps_of(torch)
    most = rows.abs().amax(1, keepdim=True) / steps / 2 * plain._weight.abs().sum(1)
    most = most + rows.abs().sum(1, keepdim=True) * (plain._weight.abs().amax(1) / 127 / 2) * (1 + 1 / steps)
    assert (wrong <= most * 1.01 + 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_those_beside_it(kind: Any) -> None:
    eight, _ = pair(kind, 200, 48, True)
    rows = torch.randn(33, 200) * torch.logspace(-3, 3, 33)[:, None]
    together = eight(rows)
    for at in range(33):
        assert torch.equal(eight(rows[at : at + 1])[0], together[at])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_gives_the_bias(kind: Any) -> None:
    eight, plain = pair(kind, 16, 8, True)
    assert torch.equal(eight(torch.zeros(2, 16)), plain(torch.zeros(2, 16)))


def test_the_faster_one_is_taken_and_none_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert layers(torch) is KINDS[0]
    assert layers(torch, exact=True) is Plain
    monkeypatch.setattr(torch.cpu, "_is_avx2_supported", lambda: False)
    assert layers(torch) is Plain


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_that_are_always_large_leave_steps_for_the_others(kind: Any) -> None:
    torch.manual_seed(1)
    weight, rows = torch.randn(48, 64) * 0.05, torch.randn(200, 64)
    rows[:, :3] *= 100
    told, plain = Listening(Plain(torch, weight)), Plain(torch, weight)(rows)
    told(rows[:100])
    wrong = [
        (layer(rows[100:]) - plain[100:]).abs().mean()
        for layer in (kind(torch, weight), kind(torch, weight, None, told.peaks))
    ]
    assert wrong[1] < wrong[0] / 2


def test_balancing_changes_no_product() -> None:
    weight, rows = torch.randn(48, 64), torch.randn(20, 64)
    changed, factors = balanced(weight, rows.abs().amax(0) * torch.tensor([0.0, 1.0]).repeat(32))
    assert torch.allclose((rows * factors) @ changed.T, rows @ weight.T, atol=1e-4)
