"""One arm of `benchmarks.train`, in a process of its own: `python -m benchmarks.train_arm JOB.json`.

    trl          plain trl: one row per call, `prompt` and `completion` as text, trl's tokenising, masks and loss
    full         ours: one row per session, all its answers trained; the whole prompt
    internalised ours: the same without what the prompt and the tools always say

All read the same sessions from the same weights with the same adapter, optimiser and rows per step. What is counted:
CPU seconds of the training alone, tokens read and tokens trained, and the process's highest resident memory.
"""

import json
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.distill.curate import CallRef, Trajectory
from tutelage.distill.options import DistillOptions
from tutelage.distill.progress import silent
from tutelage.distill.rows import MASKED, rows_of
from tutelage.serving.render import TURN_END, Segment, prompt_segments, render_action, token_ids
from tutelage.serving.threads import quiet_threads
from tutelage.traffic.students import PromptSpec


@dataclass(frozen=True)
class Job:
    """What an arm is given."""

    arm: str
    base: str
    sessions: list[dict[str, Any]]
    """Sessions in the form of the recorded traffic."""
    skeleton: list[str]
    batch: int
    threads: int

    @property
    def options(self) -> DistillOptions:
        """One pass, nothing beside the training."""
        return DistillOptions(data="", epochs=1, batch=self.batch, threads=self.threads, checkpoint_s=0, memory_mb=0)


def trajectory_of(run: dict[str, Any]) -> Trajectory:
    """A recorded run as the product's own form."""
    calls = tuple(
        CallRef(f"{run['trajectory_id']}/{call['i']}", call["i"], "p", "teacher", run["teacher"], float(number))
        for number, call in enumerate(run["calls"])
    )
    name = run["trajectory_id"]
    return Trajectory(name, name, "a", True, "recorded", run["tools"], run["messages"], calls)


def pairs_of(item: Trajectory, spec: PromptSpec) -> list[dict[str, str]]:
    """The session as trl's users write it: for each call the prompt's text and the answer's."""
    return [
        {
            "prompt": "".join(part.text for part in prompt_segments(item.messages[: call.index], item.tools, spec)),
            "completion": render_action(item.messages[call.index], item.tools) + TURN_END,
        }
        for call in item.trainable
    ]


def ours(job: Job, tokenizer: Any, folder: Path) -> dict[str, float]:
    """The product's own training."""
    from tutelage.distill.train import train

    spec = PromptSpec(mode=job.arm, skeleton=job.skeleton)
    rows = rows_of(map(trajectory_of, job.sessions), spec, tokenise_with(tokenizer), 1_000_000).rows
    made = train(rows, Path(job.base), folder / "adapter", job.options, silent)
    return {
        "cpu_seconds": made.cpu_seconds,
        "read": made.tokens + made.padded,
        "trained": sum(row.trained for row in rows),
        "rows": len(rows),
    }


def plain(job: Job, tokenizer: Any, folder: Path) -> dict[str, float]:
    """trl as its manual says, on a CPU."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    if job.threads:
        torch.set_num_threads(job.threads)
    options, spec = job.options, PromptSpec(mode="full")
    pairs = [pair for run in job.sessions for pair in pairs_of(trajectory_of(run), spec)]
    settings = SFTConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        dataloader_pin_memory=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        max_length=None,
        num_train_epochs=1,
        per_device_train_batch_size=job.batch,
        learning_rate=options.learning_rate,
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(job.base, dtype=torch.float32),
        args=settings,
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=list(options.modules)),
    )
    rows: Any = trainer.train_dataset
    began = time.process_time()
    trainer.train()
    return {
        "cpu_seconds": time.process_time() - began,
        "read": sum(len(ids) for ids in rows["input_ids"]),
        "trained": sum(label != MASKED for labels in rows["labels"] for label in labels),
        "rows": len(rows),
    }


def tokenise_with(tokenizer: Any) -> Any:
    """Ids of a text: nothing added, special tokens parsed."""
    return lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]


def prompt_tokens(run: dict[str, Any], spec: PromptSpec, tokenizer: Any) -> int:
    """Tokens of a session's whole rendering, its answers included."""
    item = trajectory_of(run)
    last = item.trainable[-1].index
    parts = [*prompt_segments(item.messages[:last], item.tools, spec), Segment(render_action(item.messages[last]))]
    return len(token_ids(parts, tokenise_with(tokenizer)))


def main(path: Path) -> None:
    """Run one arm and print its figures."""
    quiet_threads()
    import os
    import warnings

    # trl counts its uses over the network.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    warnings.simplefilter("ignore")
    from transformers import AutoTokenizer

    job = Job(**json.loads(path.read_text()))
    tokenizer = AutoTokenizer.from_pretrained(job.base)
    with tempfile.TemporaryDirectory() as folder:
        made = (plain if job.arm == "trl" else ours)(job, tokenizer, Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**made, "peak_mib": peak, "arm": job.arm}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
