"""Training with trl and peft on rows that are tokenised and labelled already.

The trainer is given token ids and labels and leaves both alone: no template, no truncation, no packing of its own.
Batches are made of rows of like length, or of packs (see `packs`). Adapters may sit on the upper layers only; then the
backward pass ends at the first of them, and what lies below is computed once per row (see `trunk`). How weights are
adapted is in `methods`, who looks on in `watch`, how a killed run goes on in `checkpoints`, several processes in
`launch`.
"""

import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..serving.threads import quiet_threads
from ..traffic.errors import BadInput, MissingExtra
from .checkpoints import FOLDER, Checkpoints, fingerprint
from .loss import has_plain_head, speak_loss
from .methods import Load, adapter_config, kind_of, load_base, save, uses_cuda
from .options import DistillOptions
from .packs import collated, packed, require_agreement
from .plan import epoch_ends, kept_apart, padding, planned
from .progress import OnEpoch, Report
from .rows import Row


@dataclass(frozen=True)
class Trained:
    """What came of a training."""

    adapter: Path
    """Folder of the peft adapter, or of the whole model."""
    losses: list[float]
    """Mean loss over the trained tokens, by step."""
    tokens: int
    """Tokens read, over all epochs, without padding."""
    padded: int
    """Padding tokens read."""
    seconds: float
    """Of this process; a run that goes on from a checkpoint counts from there."""
    cpu_seconds: float
    parameters: int
    """Trained parameters."""
    kind: str = "adapter"
    """`adapter`, or `model`: a whole model, which needs no base beside it."""
    resumed_at: int = 0
    """The step from which a killed run went on; 0: from the beginning."""
    watched_losses: dict[int, float] = field(default_factory=dict)
    """Mean loss on the sessions kept apart, by step."""
    best_step: int = 0
    """The step whose weights were taken, where sessions were kept apart; 0: the last."""


@dataclass(frozen=True)
class Job:
    """All that a training is made of."""

    rows: Sequence[Row]
    base: Path
    """Model folder."""
    out: Path
    """Where the weights are written; the checkpoints stand beside it."""
    options: DistillOptions
    report: Report
    on_epoch: OnEpoch | None = None
    load: Load | None = None
    """Stands in for the loader of the base."""


def train(
    rows: Sequence[Row],
    base: Path,
    out: Path,
    options: DistillOptions,
    report: Report,
    *,
    on_epoch: OnEpoch | None = None,
    runs: Path | None = None,
) -> Trained:
    """Train on `rows` from the model folder `base` and write the adapter to `out`.

    `on_epoch` is given the weights after each epoch but the last. `runs`: the folder of all runs; the checkpoints of
    one there that was killed at this very training are taken over.
    Raises MissingExtra without the training libraries, BadInput for settings that the model cannot follow."""
    if options.batch % options.processes:
        raise BadInput(f"distill.batch is {options.batch}: {options.processes} processes cannot share it evenly.")
    job = Job(rows, base, out, options, report, on_epoch)
    if options.checkpoint_s <= 0:
        return _run(job, None)
    checkpoints = Checkpoints.open(out.parent / FOLDER, fingerprint(rows, base, options), runs)
    try:
        return _run(job, checkpoints)
    finally:
        checkpoints.close()


def _run(job: Job, checkpoints: Checkpoints | None) -> Trained:
    if job.options.processes == 1:
        return train_here(job, checkpoints)
    from .launch import train_in_processes

    return train_in_processes(job, checkpoints)


def train_here(job: Job, checkpoints: Checkpoints | None) -> Trained:
    """`train` in this process, which may be one of several."""
    quiet_threads()
    try:
        import torch
        import trl  # noqa: F401
        from peft import LoraConfig  # noqa: F401
        from transformers import AutoTokenizer, set_seed
    except ImportError as error:
        raise MissingExtra("distill", error.name or "trl") from error
    options = job.options
    cuda = uses_cuda(options)
    with calm(), with_threads(torch, options.threads or (os.cpu_count() or 1) // options.processes or 1):
        set_seed(options.seed)
        model = load_base(job.base, options, cuda, job.load)
        return _fit(job, model, AutoTokenizer.from_pretrained(job.base), checkpoints, cuda)


def _fit(job: Job, model: Any, tokenizer: Any, checkpoints: Checkpoints | None, cuda: bool) -> Trained:
    from .trunk import remembered
    from .watch import Watch

    options = job.options
    used, watched = kept_apart(job.rows, options)
    if options.pack > 1:
        used = packed(used, options.pack, options.max_length, options.seed)
        require_agreement(model, used)
    plan = planned(used, options)
    ends = epoch_ends(len(used), len(plan) // options.batch, options.batch)
    newest = checkpoints.newest() if checkpoints else None
    with tempfile.TemporaryDirectory(dir=job.out.parent) as scratch:
        output = str(checkpoints.folder if checkpoints else scratch)
        trainer = _trainer(model, tokenizer, plan, options, settings(options, output, cuda))
        watch = Watch(plan, options.batch, job.report)
        early = _onlookers(job, trainer, watch, watched, ends, checkpoints)
        if newest and early:
            early.go_on(newest)
        started, cpu = time.perf_counter(), time.process_time()
        # Of a whole model everything may change, and its weights are saved while it is trained.
        depth = options.layers_from if kind_of(options.method) == "adapter" and not cuda else 0
        with remembered(_causal(trainer.model).model, depth, options.memory_mb * 2**20):
            trainer.train(resume_from_checkpoint=str(newest) if newest else None)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    if trainer.is_world_process_zero():
        save(trainer.model, job.out, options.method)
    return Trained(
        adapter=job.out,
        losses=watch.losses,
        tokens=watch.ends[len(watch.losses) - 1],
        padded=padding(plan[: len(watch.losses) * options.batch], options.batch),
        seconds=seconds,
        cpu_seconds=cpu,
        parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        kind=kind_of(options.method),
        resumed_at=int(newest.name.rpartition("-")[2]) if newest else 0,
        watched_losses=early.losses if early else {},
        best_step=early.best_step if early else 0,
    )


def _causal(model: Any) -> Any:
    """The causal language model, inside the adapter's wrapper if there is one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _onlookers(
    job: Job, trainer: Any, watch: Any, watched: list[Row], ends: list[int], checkpoints: Checkpoints | None
) -> Any:
    """Attach them; returns the one that stops early, None where nothing is kept apart."""
    from .watch import EarlyStop, Epochs, Saver

    options = job.options
    early = EarlyStop(trainer.model, watched, options.batch, ends, options.patience) if watched else None
    found = [watch, early]
    if checkpoints:
        found.append(Saver(checkpoints, options.checkpoint_s, early))
    if job.on_epoch:
        found.append(Epochs(ends, job.out.parent, lambda out: save(trainer.model, out, options.method), job.on_epoch))
    for callback in filter(None, found):
        trainer.add_callback(callback)
    return early


def _trainer(model: Any, tokenizer: Any, plan: list[Row], options: DistillOptions, settings: dict[str, Any]) -> Any:
    """The trl trainer over the planned rows, which it reads in their order."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    names = ("input_ids", "labels", *(("positions", "owners") if options.pack > 1 else ()))
    dataset = Dataset.from_dict({name: [getattr(row, name) for row in plan] for name in names})
    plain = has_plain_head(model)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id

    class AnswerTrainer(SFTTrainer):
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if not plain:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            loss = model(**inputs, trained_tokens=num_items_in_batch)
            # Gradients are averaged over the processes, and each has its share of the step's tokens.
            return loss if num_items_in_batch is None else loss * self.accelerator.num_processes

        def create_model_card(self, *args: Any, **kwargs: Any) -> None:
            """None: a checkpoint is for ourselves."""

        def _send_telemetry(self) -> None:
            """None: what is trained here, and on what, is nobody's business."""

    trainer = AnswerTrainer(
        model=model,
        args=SFTConfig(**settings),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=adapter_config(options, len(model.model.layers)),
        data_collator=partial(collated, pad=pad) if options.pack > 1 else None,
    )
    if plain:
        speak_loss(_causal(trainer.model))
    # It would print every step; the watch tells the same to whoever listens.
    trainer.remove_callback(PrinterCallback)
    return trainer


def settings(options: DistillOptions, output: str, cuda: bool) -> dict[str, Any]:
    """The trainer's settings: one pass over the plan; checkpoints when a callback asks for one."""
    return {
        "output_dir": output,
        "use_cpu": not cuda,
        "bf16": cuda,
        "gradient_checkpointing": cuda,
        "dataloader_pin_memory": cuda,
        "report_to": "none",
        "save_strategy": "no",
        "save_total_limit": 2,
        "disable_tqdm": True,
        "logging_steps": 1,
        "max_length": None,
        "packing": False,
        "remove_unused_columns": options.pack <= 1,
        "num_train_epochs": 1,
        "per_device_train_batch_size": options.batch // options.processes,
        "train_sampling_strategy": "sequential",
        "ddp_find_unused_parameters": False,
        "learning_rate": options.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": options.warmup,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": options.seed,
    }


@contextmanager
def calm() -> Iterator[None]:
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
def with_threads(torch: Any, wanted: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
