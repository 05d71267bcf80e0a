import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tutelage.distill.checkpoints import Checkpoints
from tutelage.distill.progress import Progress
from tutelage.distill.rows import MASKED, Row
from tutelage.distill.watch import EarlyStop, Epochs, Saver, Watch, mean_loss, padded


def row(*ids: int, masked: int = 1) -> Row:
    return Row("t/0", "t", (), list(ids), [MASKED] * masked + list(ids[masked:]))


def state(step: int = 0, **fields: Any) -> Any:
    return SimpleNamespace(
        **({"global_step": step, "max_steps": 4, "log_history": [], "is_world_process_zero": True} | fields)
    )


def control() -> Any:
    return SimpleNamespace(should_save=False, should_training_stop=False)


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    shape: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, num_hidden_layers=1, num_key_value_heads=4, **shape))


def test_a_watch_reports_each_step_and_goes_on_after_a_restart():
    seen: list[Progress] = []
    watch = Watch([row(1, 2, 3), row(1, 2), row(1, 2, 3, 4), row(1, 2)], 2, seen.append)
    assert watch.ends == [5, 11]
    watch.on_train_begin(None, state(log_history=[{"loss": 3.0}, {"learning_rate": 1}]), None)
    watch.on_log(None, state(), None, logs={"loss": 2.5})
    watch.on_log(None, state(), None, logs={"train_runtime": 1.0})
    assert watch.losses == [3.0, 2.5]
    assert [(event.fraction, event.loss, event.seconds_left) for event in seen] == [(1.0, 2.5, 0.0)]


def test_another_process_says_nothing():
    seen: list[Progress] = []
    watch = Watch([row(1, 2, 3)], 1, seen.append)
    watch.on_train_begin(None, state(), None)
    watch.on_log(None, state(is_world_process_zero=False), None, logs={"loss": 2.5})
    assert watch.losses == [2.5]
    assert seen == []


def test_a_checkpoint_is_asked_for_in_time_and_not_at_the_end(tmp_path: Path):
    checkpoints = Checkpoints.open(tmp_path / "c", "f")
    for every, step, asked in ((1e-9, 1, True), (1e9, 1, False), (1e-9, 4, False)):
        saver, said = Saver(checkpoints, every, None), control()
        saver.on_step_end(None, state(step), said)
        assert said.should_save is asked
    (checkpoints.folder / "checkpoint-1").mkdir()
    Saver(checkpoints, 1.0, None).on_save(None, state(1, is_world_process_zero=False), None)
    assert checkpoints.newest() is None
    Saver(checkpoints, 1.0, None).on_save(None, state(1), None)
    assert checkpoints.newest()
    checkpoints.close()


def test_weights_of_an_epoch_are_removed_even_if_their_examination_fails(tmp_path: Path):
    def fails(number: int, folder: Path) -> None:
        assert (folder / "w").read_text() == "1"
        raise RuntimeError(f"epoch {number}")

    def save(folder: Path) -> None:
        folder.mkdir()
        (folder / "w").write_text("1")

    epochs = Epochs([2, 4], tmp_path, save, fails)
    epochs.on_step_end(None, state(1), None)
    epochs.on_step_end(None, state(4), None)
    with pytest.raises(RuntimeError, match="epoch 1"):
        epochs.on_step_end(None, state(2), None)
    assert list(tmp_path.iterdir()) == []


def test_the_best_weights_come_back(model: Any, tmp_path: Path):
    stop = EarlyStop(model, [row(1, 2, 3)], 2, [1, 2, 3], patience=2)
    bias = model.lm_head.weight
    best = bias.detach().clone()
    stops = []
    for step in (1, 2, 3):
        said = control()
        stop.on_step_end(None, state(step), said)
        stops.append(said.should_training_stop)
        with torch.no_grad():
            # What comes next is less and less likely.
            bias[2:4] -= 0.5 * model.model(torch.tensor([[1, 2]])).last_hidden_state[0]
        if step == 2:
            stop.keep(tmp_path)
    assert stops == [False, False, True]
    assert list(stop.losses.values()) == sorted(stop.losses.values())
    later = EarlyStop(model, [row(1, 2, 3)], 2, [1, 2, 3], patience=2)
    later.go_on(tmp_path)
    assert (later.best_step, list(later.losses)) == (1, [1, 2])
    later.on_train_end(None, state(3), None)
    assert torch.equal(bias, best)


def test_the_mean_loss_counts_tokens_not_rows(model: Any):
    long, short = row(1, 2, 3, 4, 5, 6), row(7, 8)
    alone = [mean_loss(model, [one], 1) for one in (long, short)]
    assert mean_loss(model, [long, short], 2) == pytest.approx((5 * alone[0] + alone[1]) / 6, rel=1e-5)
    assert math.isnan(mean_loss(model, [], 2))


def test_rows_are_padded_on_the_right():
    made = padded([row(1, 2, 3), row(4, 5)])
    assert made["input_ids"].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert made["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert made["labels"].tolist() == [[MASKED, 2, 3], [MASKED, 5, MASKED]]
