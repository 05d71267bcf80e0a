"""Training a LoRA adapter with trl and peft on rows that are tokenised and labelled already.

The trainer is given token ids and labels and leaves both alone: no template, no truncation, no packing. Batches are
made of rows of like length. Adapters may sit on the upper layers only; then the backward pass ends at the first of
them, and what lies below is computed once per row (see `trunk`).
"""

import itertools
import os
import random
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..serving.threads import quiet_threads
from ..traffic.errors import BadInput, MissingExtra
from .loss import answer_loss
from .options import DistillOptions
from .progress import Progress, Report
from .rows import Row


@dataclass(frozen=True)
class Trained:
    """What came of a training."""

    adapter: Path
    """Folder of the peft adapter."""
    losses: list[float]
    """Mean loss over the trained tokens, by step."""
    tokens: int
    """Tokens read, over all epochs, without padding."""
    padded: int
    """Padding tokens read."""
    seconds: float
    cpu_seconds: float
    parameters: int
    """Trained parameters."""


def train(rows: Sequence[Row], base: Path, out: Path, options: DistillOptions, report: Report) -> Trained:
    """Train on `rows` from the model folder `base` and write the adapter to `out`.

    Raises MissingExtra without the training libraries, BadInput for settings that the model cannot follow."""
    quiet_threads()
    try:
        import torch
        import trl  # noqa: F401
        from peft import LoraConfig  # noqa: F401
        from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    except ImportError as error:
        raise MissingExtra("distill", error.name or "trl") from error
    with _calm(), _threads(torch, options.threads):
        set_seed(options.seed)
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if options.layers_from >= len(model.model.layers):
            depth = len(model.model.layers)
            raise BadInput(f"layers_from is {options.layers_from}; the base has {depth} layers: give 0 to {depth - 1}.")
        return _fit(model, AutoTokenizer.from_pretrained(base), planned(rows, options), out, options, report)


def planned(rows: Sequence[Row], options: DistillOptions) -> list[Row]:
    """The rows of all epochs in the order of training: each run of `batch` rows is one step.

    Epochs follow one another as seeded shuffles. Within stretches of sixteen steps rows are sorted by length, so that
    little is padded while every stretch keeps the mixture of lengths; then the steps of a stretch are shuffled."""
    rng = random.Random(options.seed)
    steps = max(1, round(options.epochs * len(rows) / options.batch))
    stream: list[Row] = []
    while len(stream) < steps * options.batch:
        stream += rng.sample(list(rows), len(rows))
    stream = stream[: steps * options.batch]
    plan: list[Row] = []
    stretch = 16 * options.batch
    for start in range(0, len(stream), stretch):
        near = sorted(stream[start : start + stretch], key=lambda row: len(row.input_ids))
        batches = [near[place : place + options.batch] for place in range(0, len(near), options.batch)]
        rng.shuffle(batches)
        plan += [row for batch in batches for row in batch]
    return plan


def _fit(model: Any, tokenizer: Any, plan: list[Row], out: Path, options: DistillOptions, report: Report) -> Trained:
    from .trunk import remembered

    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        trainer, watch = _trainer(model, tokenizer, plan, scratch, options, report)
        decoder = trainer.model.get_base_model().model
        started, cpu = time.perf_counter(), time.process_time()
        with remembered(decoder, options.layers_from, options.memory_mb * 2**20):
            trainer.train()
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    _save(trainer.model, out)
    return Trained(
        adapter=out,
        losses=watch.losses,
        tokens=watch.ends[-1],
        padded=_padding(plan, options.batch),
        seconds=seconds,
        cpu_seconds=cpu,
        parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
    )


def _save(model: Any, out: Path) -> None:
    """Write the adapter alone, without what differs from machine to machine: its digest names the version."""
    for config in model.peft_config.values():
        config.base_model_name_or_path = ""
        # A set, which is written in another order by every process.
        config.target_modules = sorted(config.target_modules)
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)


def _padding(plan: Sequence[Row], batch: int) -> int:
    widest = (max(len(row.input_ids) for row in step) for step in _steps(plan, batch))
    return sum(widest) * batch - sum(len(row.input_ids) for row in plan)


def _trainer(
    model: Any, tokenizer: Any, plan: list[Row], scratch: str, options: DistillOptions, report: Report
) -> tuple[Any, Any]:
    """The trl trainer over the planned rows, which it reads in their order, and its watch."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.sft_trainer import SFTTrainer

    dataset = Dataset.from_dict({"input_ids": [row.input_ids for row in plan], "labels": [row.labels for row in plan]})
    watch = _watch(plan, options.batch, report)

    class AnswerTrainer(SFTTrainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            return answer_loss(model.get_base_model(), inputs, num_items_in_batch)

    trainer = AnswerTrainer(
        model=model,
        args=_settings(options, scratch),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=_lora(options, len(model.model.layers)),
        callbacks=[watch],
    )
    # It would print every step; the watch tells the same to whoever listens.
    trainer.remove_callback(PrinterCallback)
    return trainer, watch


def _lora(options: DistillOptions, layers: int) -> Any:
    """The adapter's shape on a model of so many layers."""
    from peft import LoraConfig

    return LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(options.modules),
        layers_to_transform=list(range(options.layers_from, layers)),
        task_type="CAUSAL_LM",
    )


def _settings(options: DistillOptions, scratch: str) -> Any:
    """The trainer's settings: one pass over the plan, on the CPU, nothing written but the adapter."""
    from trl.trainer.sft_config import SFTConfig

    return SFTConfig(
        output_dir=scratch,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
        max_length=None,
        packing=False,
        num_train_epochs=1,
        per_device_train_batch_size=options.batch,
        train_sampling_strategy="sequential",
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=options.warmup,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=options.seed,
    )


def _watch(plan: Sequence[Row], batch: int, report: Report) -> Any:
    """A trainer callback that keeps the losses and reports speed and time left after each step."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def __init__(self) -> None:
            self.losses: list[float] = []
            self.ends = list(
                itertools.accumulate(sum(len(row.input_ids) for row in step) for step in _steps(plan, batch))
            )
            self.started = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.started = time.perf_counter()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if not logs or "loss" not in logs:
                return
            self.losses.append(float(logs["loss"]))
            done, total, spent = len(self.losses), len(self.ends), time.perf_counter() - self.started
            read = self.ends[done - 1]
            report(
                Progress(
                    "train",
                    done / total,
                    f"step {done} of {total}",
                    loss=self.losses[-1],
                    tokens_per_second=read / max(spent, 1e-9),
                    seconds_left=spent * (self.ends[-1] - read) / max(read, 1),
                )
            )

    return Watch()


def _steps(plan: Sequence[Row], batch: int) -> Iterator[Sequence[Row]]:
    return (plan[place : place + batch] for place in range(0, len(plan), batch))


@contextmanager
def _calm() -> Iterator[None]:
    """Keep the libraries' notices and progress bars off the terminal: the report says what matters."""
    from datasets.utils.logging import disable_progress_bar
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


@contextmanager
def _threads(torch: Any, wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(wanted or os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
