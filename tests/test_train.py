"""Trainings of a random two-layer model, in every form."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training_world import OPTIONS, rows, weights

from tutelage.distill.options import DistillOptions
from tutelage.distill.parts import BaseParts
from tutelage.distill.progress import Progress, silent
from tutelage.distill.rows import MASKED
from tutelage.distill.train import settings, train
from tutelage.traffic.errors import BadInput


@pytest.fixture(scope="module")
def tiny(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseParts:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_MODELS", str(tmp_path_factory.mktemp("models")))
        return BaseParts(str(tiny_gguf), threads=1)


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


def folders(path: Path) -> set[str]:
    return {item.name for item in path.iterdir()}


@pytest.mark.parametrize(("method", "kind"), [("dora", "model"), ("rslora", "adapter"), ("full", "model")])
def test_every_method_learns_and_says_what_it_made(tiny: BaseParts, tmp_path: Path, method: str, kind: str):
    made = train(rows(tiny), tiny.folder, tmp_path / "out", replace(OPTIONS, method=method), silent)
    assert made.kind == kind
    assert made.losses[-1] < made.losses[0] - 0.5
    assert ("config.json" if kind == "model" else "adapter_config.json") in folders(tmp_path / "out")
    assert not any("README" in name for name in folders(tmp_path / "out"))


def test_a_whole_model_keeps_the_layers_below_as_they_were(tiny: BaseParts, tmp_path: Path):
    made = train(rows(tiny), tiny.folder, tmp_path / "out", replace(OPTIONS, method="full", layers_from=1), silent)
    before, after = weights(tiny.folder), weights(tmp_path / "out")
    same = {name for name, tensor in before.items() if tensor.equal(after[name])}
    assert before.keys() == after.keys()
    assert all(".layers.0." in name or "embed_tokens" in name for name in same)
    assert len([name for name in before if ".layers.0." in name]) <= len(same) < len(before)
    assert made.parameters < sum(tensor.numel() for tensor in before.values())


def test_weights_of_each_epoch_but_the_last_are_handed_out(tiny: BaseParts, tmp_path: Path):
    seen: list[tuple[int, dict[str, Any]]] = []
    folder = tmp_path / "a"
    train(
        rows(tiny), tiny.folder, folder, OPTIONS, silent, on_epoch=lambda number, at: seen.append((number, weights(at)))
    )
    assert [number for number, _ in seen] == [1, 2]
    first, second, last = seen[0][1], seen[1][1], weights(folder)
    assert first.keys() == second.keys() == last.keys()
    assert not any(first[name].equal(second[name]) for name in first)
    assert not any(second[name].equal(last[name]) for name in first)
    assert folders(tmp_path) == {"a"}


def test_training_stops_when_what_was_kept_apart_gets_worse(tiny: BaseParts, tmp_path: Path):
    """What the rows say and what the watched session says differ: to learn the one is to unlearn the other."""
    from transformers import AutoModelForCausalLM

    from tutelage.distill.plan import kept_apart
    from tutelage.distill.watch import mean_loss

    setting = replace(OPTIONS, epochs=20, patience=2, method="full", learning_rate=3e-3)
    made = train(rows(tiny), tiny.folder, tmp_path / "out", setting, silent)
    assert len(made.losses) < 35
    assert made.best_step == min(made.watched_losses, key=lambda step: made.watched_losses[step])
    assert sum(step > made.best_step for step in made.watched_losses) == 2
    taken: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    _, watched = kept_apart(rows(tiny), setting)
    assert mean_loss(taken, watched, 4) == pytest.approx(made.watched_losses[made.best_step], abs=1e-4)


def test_nothing_is_told_to_anyone(tiny: BaseParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """trl counts its uses over the network unless it is told not to; it must not even start the thread for it."""
    from huggingface_hub.utils import _telemetry

    for name in ("CI", "HF_HUB_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    train(rows(tiny), tiny.folder, tmp_path / "a", replace(OPTIONS, epochs=1), silent)
    assert _telemetry._TELEMETRY_THREAD is None
    assert _telemetry._TELEMETRY_QUEUE.empty()


def test_rows_of_a_step_are_shared_evenly_or_not_at_all(tiny: BaseParts, tmp_path: Path):
    with pytest.raises(BadInput, match="3 processes cannot share"):
        train(rows(tiny), tiny.folder, tmp_path / "a", replace(OPTIONS, processes=3), silent)


def test_settings_on_a_gpu():
    found = settings(DistillOptions(data="", batch=8, processes=2), "out", cuda=True)
    assert (found["bf16"], found["use_cpu"], found["gradient_checkpointing"]) == (True, False, True)
    assert found["per_device_train_batch_size"] == 4
    assert found["max_length"] is None
    assert found["packing"] is False


def test_packs_teach_what_their_rows_teach(tiny: BaseParts, tmp_path: Path):
    house = tiny.tokenise("<|im_start|>system\nlamp, kettle, fan, radio, door, blind, oven, pump<|im_end|>\n")
    alike = [
        replace(row, input_ids=house + row.input_ids, labels=[MASKED] * len(house) + row.labels)
        for row in rows(tiny, 6)
    ]
    once = replace(OPTIONS, epochs=1, layers_from=1)
    apart = train(alike, tiny.folder, tmp_path / "apart", replace(once, batch=6), silent)
    together = train(alike, tiny.folder, tmp_path / "together", replace(once, batch=2, pack=3), silent)
    assert together.losses == pytest.approx(apart.losses, abs=1e-3)
    assert together.tokens < apart.tokens - 3 * len(house)
    for name, tensor in weights(apart.adapter).items():
        assert abs(tensor - weights(together.adapter)[name]).max() < 1e-3
