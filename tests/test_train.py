from dataclasses import replace
from pathlib import Path

import pytest

from tutelage.distill.options import DistillOptions
from tutelage.distill.parts import BaseParts
from tutelage.distill.progress import Progress, silent
from tutelage.distill.rows import MASKED, Row
from tutelage.distill.train import planned, train
from tutelage.traffic.errors import BadInput

OPTIONS = DistillOptions(data="", epochs=3, batch=4, learning_rate=1e-2, rank=4, alpha=8, threads=1)


@pytest.fixture(scope="module")
def tiny(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseParts:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_MODELS", str(tmp_path_factory.mktemp("models")))
        return BaseParts(str(tiny_gguf), threads=1)


def rows(tiny: BaseParts, count: int = 8) -> list[Row]:
    found = []
    for number in range(count):
        prompt = tiny.tokenise(f"<|im_start|>user\nsay {'abcdefgh'[number % 8] * (number + 2)}<|im_end|>\n")
        answer = tiny.tokenise(f"{'abcdefgh'[number % 8]}!<|im_end|>")
        found.append(Row(f"t/{number}", "t", (), prompt + answer, [MASKED] * len(prompt) + answer))
    return found


PINNED = [9.853, 9.521, 8.199, 8.506, 9.255, 8.138]
"""Losses of six steps on a random model: whatever changes them changes every student."""


def test_a_tiny_run_has_these_losses(tiny: BaseParts, tmp_path: Path):
    trained = train(rows(tiny), tiny.folder, tmp_path / "adapter", OPTIONS, silent)
    assert len(trained.losses) == 6
    assert trained.losses == pytest.approx(PINNED, abs=2e-3)
    assert trained.tokens == 3 * sum(len(row.input_ids) for row in rows(tiny))
    assert trained.parameters == 2 * (4 * (64 + 64) + 4 * (64 + 32))
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


def test_upper_layers_only_and_their_memory_change_nothing(tiny: BaseParts, tmp_path: Path):
    upper = replace(OPTIONS, layers_from=1, targets=("all-linear",))
    one = train(rows(tiny), tiny.folder, tmp_path / "one", upper, silent)
    two = train(rows(tiny), tiny.folder, tmp_path / "two", replace(upper, memory_mb=0), silent)
    assert one.losses == pytest.approx(two.losses, abs=1e-4)
    assert one.losses[-1] < one.losses[0]
    from safetensors import safe_open

    with safe_open(tmp_path / "one" / "adapter_model.safetensors", "pt") as file:
        assert {name.split(".layers.")[1].split(".")[0] for name in file.keys()} == {"1"}  # noqa: SIM118


def test_progress_says_loss_speed_and_time_left(tiny: BaseParts, tmp_path: Path):
    seen: list[Progress] = []
    train(rows(tiny), tiny.folder, tmp_path / "a", replace(OPTIONS, epochs=1), seen.append)
    assert [round(event.fraction, 2) for event in seen] == [0.5, 1.0]
    assert all(event.loss and event.tokens_per_second and event.seconds_left is not None for event in seen)
    assert seen[-1].seconds_left == 0


def test_too_high_a_layer_is_refused(tiny: BaseParts, tmp_path: Path):
    with pytest.raises(BadInput, match="0 to 1"):
        train(rows(tiny), tiny.folder, tmp_path / "a", replace(OPTIONS, layers_from=2), silent)


def test_every_row_once_an_epoch_in_batches_of_like_length():
    some = [Row(f"t/{n}", "t", (), [0] * (n % 37 + 1), [0] * (n % 37 + 1)) for n in range(200)]
    plan = planned(some, replace(OPTIONS, epochs=1))
    assert sorted(row.row_id for row in plan) == sorted(row.row_id for row in some)
    widest = sum(max(len(row.input_ids) for row in plan[at : at + 4]) * 4 for at in range(0, 200, 4))
    assert widest < 1.15 * sum(len(row.input_ids) for row in plan)
    assert plan == planned(some, replace(OPTIONS, epochs=1))
    assert plan != planned(some, replace(OPTIONS, epochs=1, seed=8))
    assert len(planned(some, replace(OPTIONS, epochs=0.5))) == 100
    assert len(planned(some[:3], replace(OPTIONS, epochs=2))) == 8
