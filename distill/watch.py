"""What looks on while a model is trained: progress, checkpoints, ends of epochs, the loss on sessions kept apart.

Each is a callback of the trainer that knows nothing of the others. In a training by several processes all of them run
in every process; what writes or tells, does so in the first alone. The weights are the same everywhere, so all
processes come to the same decision when the loss on what was kept apart says stop.
"""

import itertools
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from .checkpoints import Checkpoints
from .loss import answer_loss
from .plan import steps_of
from .progress import OnEpoch, Progress, Report
from .rows import MASKED, Row


class Watch(TrainerCallback):
    """Keeps the losses and reports speed and time left after each step."""

    def __init__(self, plan: Sequence[Row], batch: int, report: Report) -> None:
        self.losses: list[float] = []
        """By step; those before a restart are taken from the checkpoint."""
        self.ends = list(
            itertools.accumulate(sum(len(row.input_ids) for row in step) for step in steps_of(plan, batch))
        )
        """Tokens read after each step."""
        self._report = report
        self._started = 0.0
        self._before = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._started = time.perf_counter()
        self.losses = [float(entry["loss"]) for entry in state.log_history if "loss" in entry]
        self._before = self.ends[len(self.losses) - 1] if self.losses else 0

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        self.losses.append(float(logs["loss"]))
        if not state.is_world_process_zero:
            return
        done, total, spent = len(self.losses), len(self.ends), time.perf_counter() - self._started
        read = self.ends[done - 1]
        speed = (read - self._before) / max(spent, 1e-9)
        self._report(
            Progress(
                "train",
                done / total,
                f"step {done} of {total}",
                loss=self.losses[-1],
                tokens_per_second=speed,
                seconds_left=(self.ends[-1] - read) / max(speed, 1e-9),
            )
        )


class Saver(TrainerCallback):
    """Asks for a checkpoint every so many seconds, adds what the trainer does not know, and marks it as whole."""

    def __init__(self, checkpoints: Checkpoints, every_s: float, early: "EarlyStop | None") -> None:
        self._checkpoints, self._every, self._early = checkpoints, every_s, early
        self._last = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step < state.max_steps and time.monotonic() - self._last >= self._every:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._last = time.monotonic()
        if not state.is_world_process_zero:
            return
        if self._early:
            self._early.keep(self._checkpoints.folder / f"checkpoint-{state.global_step}")
        self._checkpoints.mark(state.global_step)


class Epochs(TrainerCallback):
    """Hands the weights of every epoch but the last, whose weights are the result, to whoever examines them."""

    def __init__(self, ends: Sequence[int], folder: Path, save: Callable[[Path], None], on_epoch: OnEpoch) -> None:
        self._numbers = {end: number for number, end in enumerate(ends[:-1], 1)}
        self._folder, self._save, self._on_epoch = folder, save, on_epoch

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        number = self._numbers.get(state.global_step)
        if number is None or not state.is_world_process_zero:
            return
        folder = self._folder / f"epoch-{number}"
        self._save(folder)
        try:
            self._on_epoch(number, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class EarlyStop(TrainerCallback):
    """Stops when the loss on the watched rows has not fallen for `patience` epochs, and puts the best weights back."""

    def __init__(self, model: Any, rows: Sequence[Row], batch: int, ends: Sequence[int], patience: int) -> None:
        self._model, self._rows, self._batch = model, rows, batch
        self._ends, self._patience = frozenset(ends), patience
        self.losses: dict[int, float] = {}
        """Mean loss on the watched rows by step."""
        self._best: dict[str, Any] = {}

    @property
    def best_step(self) -> int:
        """The step with the lowest loss; 0 before any."""
        return min(self.losses, key=lambda step: self.losses[step], default=0)

    def keep(self, checkpoint: Path) -> None:
        """Write what a later process needs to go on."""
        import torch

        torch.save({"losses": self.losses, "best": self._best}, checkpoint / "early_stop.pt")

    def go_on(self, checkpoint: Path) -> None:
        """Read what `keep` wrote."""
        import torch

        kept = torch.load(checkpoint / "early_stop.pt", weights_only=True)
        self.losses, self._best = kept["losses"], kept["best"]

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step not in self._ends:
            return
        self.losses[state.global_step] = mean_loss(self._model, self._rows, self._batch)
        if self.best_step == state.global_step:
            self._best = {name: p.detach().clone() for name, p in self._trained()}
        worse = sum(step > self.best_step for step in self.losses)
        if worse >= self._patience:
            control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        for name, parameter in self._trained():
            if name in self._best:
                parameter.data.copy_(self._best[name])

    def _trained(self) -> list[tuple[str, Any]]:
        return [(name, p) for name, p in self._model.named_parameters() if p.requires_grad]


def mean_loss(model: Any, rows: Sequence[Row], batch: int) -> float:
    """Mean loss over all trained tokens of `rows`, without dropout; NaN without rows."""
    import torch

    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    device, total, count = causal.lm_head.weight.device, 0.0, 0
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for step in steps_of(sorted(rows, key=lambda row: len(row.input_ids)), batch):
            inputs = {name: value.to(device) for name, value in padded(step).items()}
            trained = sum(row.trained for row in step)
            total += float(answer_loss(causal, inputs, 1))
            count += trained
    model.train(was_training)
    return total / count if count else math.nan


def padded(step: Sequence[Row]) -> dict[str, Any]:
    """The rows as `input_ids`, `attention_mask` and `labels`, each (rows, longest row), padded on the right."""
    import torch

    width = max(len(row.input_ids) for row in step)
    gaps = [width - len(row.input_ids) for row in step]
    return {
        "input_ids": torch.tensor([row.input_ids + [0] * gap for row, gap in zip(step, gaps, strict=True)]),
        "attention_mask": torch.tensor([[1] * len(r.input_ids) + [0] * gap for r, gap in zip(step, gaps, strict=True)]),
        "labels": torch.tensor([row.labels + [MASKED] * gap for row, gap in zip(step, gaps, strict=True)]),
    }
