"""Packs: every row once, and for each of its tokens what the row alone would give."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from tutelage.distill.packs import SHORTEST, Pack, collated, packed, require_agreement
from tutelage.distill.rows import MASKED, Row
from tutelage.traffic.errors import BadInput

TURN = 1
"""Opens a turn."""
HOUSES = [[TURN, *range(10 + house, 30 + house)] for house in (0, 7)]


def row(number: int, opening: list[int], said: list[int], answer: list[int]) -> Row:
    read = [*opening, TURN, *said, TURN]
    return Row(f"r{number}", f"t{number}", (f"c{number}",), [*read, *answer], [MASKED] * len(read) + answer)


IDS = st.lists(st.integers(2, 60), min_size=1, max_size=6)
ROWS = st.lists(st.tuples(st.sampled_from(HOUSES), IDS, IDS), min_size=1, max_size=12).map(
    lambda parts: [row(number, *part) for number, part in enumerate(parts)]
)


@given(ROWS, st.integers(1, 5), st.integers(40, 200), st.integers(0, 3))
def test_every_row_is_in_one_pack_as_it_was(rows: list[Row], most: int, limit: int, seed: int) -> None:
    packs = packed(rows, most, limit, seed)
    assert sorted((one.input_ids, one.labels) for pack in packs for one in pack.rows) == sorted(
        (one.input_ids, one.labels) for one in rows
    )
    assert sum(one.trained for one in rows) == sum(pack.trained for pack in packs)
    for pack in packs:
        assert len(pack.branches) <= most
        assert len(pack.branches) == 1 or len(pack.input_ids) <= limit
        assert len(pack.positions) == len(pack.owners) == len(pack.input_ids) == len(pack.labels)
    assert [pack.row_id for pack in packed(rows, most, limit, seed)] == [pack.row_id for pack in packs]


def test_rows_with_little_in_common_stand_alone() -> None:
    short = [row(number, [TURN, *range(2, SHORTEST)], [5], [6]) for number in range(4)]
    assert all(len(pack.branches) == 1 for pack in packed(short, 4, 1000, 0))
    none = [row(number, [], [5], [6]) for number in range(4)]
    assert all(pack.shared == 0 for pack in packed(none, 4, 1000, 0))


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=64, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.4, **shape)
    return LlamaForCausalLM(config).eval()


def predictions(model: Any, packs: list[Pack]) -> dict[tuple[int, ...], list[list[float]]]:
    """By the ids of a row, the logits from which its trained tokens are said."""
    batch = collated([{name: getattr(one, name) for name in NAMES} for one in packs], pad=0)
    with torch.no_grad():
        logits = model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], attention_mask=batch["attention_mask"]
        ).logits
    found: dict[tuple[int, ...], list[list[float]]] = {}
    for number, pack in enumerate(packs):
        start = pack.shared
        for one, length in zip(pack.rows, pack.branches, strict=True):
            places = [at - 1 for at in range(start, start + length) if pack.labels[at] != MASKED]
            found[tuple(one.input_ids)] = logits[number, places].tolist()
            start += length
    return found


NAMES = ("input_ids", "labels", "positions", "owners")


def test_a_token_of_a_pack_is_said_as_in_its_row_alone(model: Any) -> None:
    said = [[40], [41, 42, 43], [40], [44, 45]]
    rows = [row(number, HOUSES[number % 2], words, [50 + number, 60]) for number, words in enumerate([*said, *said])]
    alone, together = packed(rows, 1, 1000, 0), packed(rows, 4, 1000, 0)
    assert sum(len(one.input_ids) for one in together) < 0.6 * sum(len(one.input_ids) for one in alone)
    wanted, found = predictions(model, alone), predictions(model, together)
    assert wanted.keys() == found.keys()
    for ids, logits in wanted.items():
        assert torch.allclose(torch.tensor(logits), torch.tensor(found[ids]), atol=1e-4)


def test_equal_rows_keep_what_says_their_first_trained_token_apart(model: Any) -> None:
    rows = [row(0, HOUSES[0], [40], [50]), row(1, HOUSES[0], [40], [51])]
    [pack] = packed(rows, 2, 1000, 0)
    wanted, found = predictions(model, packed(rows, 1, 1000, 0)), predictions(model, [pack])
    for ids, logits in wanted.items():
        assert torch.allclose(torch.tensor(logits), torch.tensor(found[ids]), atol=1e-4)


def test_a_model_that_cannot_follow_a_pack_is_refused(model: Any) -> None:
    packs = packed([row(number, HOUSES[0], [40 + number], [50]) for number in range(3)], 3, 1000, 0)
    require_agreement(model, packs)

    class Forgetful(torch.nn.Module):
        """Sees no masks: each token sees all before it."""

        def __init__(self) -> None:
            super().__init__()
            self.lm_head, self.device, self.dtype, self.config = model.lm_head, model.device, model.dtype, model.config
            self.model = Unmasked()

    class Unmasked(torch.nn.Module):
        layers = ()

        def forward(self, input_ids: Any, **_: Any) -> Any:
            return model.model(input_ids=input_ids)

    with pytest.raises(BadInput, match="otherwise than rows alone"):
        require_agreement(Forgetful(), packs)
    capped = LlamaForCausalLM(model.config)
    capped.config = copy.deepcopy(model.config)
    capped.config.logit_scale = 0.5
    with pytest.raises(BadInput, match="caps its logits"):
        require_agreement(capped, packs)
