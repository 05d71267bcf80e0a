"""One training by several processes on this machine: `accelerate launch`, gloo on CPUs, NCCL on GPUs.

All processes plan alike; each reads its share of every step and gradients are averaged, so the weights are those of one
process up to floating-point noise. The job goes to them as a file. What the first of them reports comes back as JSON
lines on its standard output; an epoch's weights lie still until whoever examines them is done.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from ..serving.threads import QUIET
from ..traffic.errors import BadInput, TutelageError
from ..traffic.layout import publish_json
from .checkpoints import Checkpoints
from .options import DistillOptions
from .progress import Progress
from .rows import Row
from .train import Job, Trained, train_here

_LAUNCH = "accelerate.commands.launch"


def train_in_processes(job: Job, checkpoints: Checkpoints | None) -> Trained:
    """`train` by `job.options.processes` processes.

    Raises BadInput for what one of them refuses, TutelageError with their last words when they fail otherwise."""
    with tempfile.TemporaryDirectory(dir=job.out.parent) as name:
        folder = Path(name)
        _write(job, checkpoints, folder)
        with (folder / "stderr").open("wb") as stderr:
            failed = _follow(job, folder, stderr)
        if refused := list(folder.glob("refused-*")):
            raise BadInput(refused[0].read_text())
        if failed:
            told = (folder / "stderr").read_text(errors="replace").strip().splitlines()[-40:]
            raise TutelageError(f"Training by {job.options.processes} processes failed:\n" + "\n".join(told))
        written = (folder / "trained.json").read_bytes()
    return msgspec.json.decode(written, type=Trained, dec_hook=lambda kind, value: kind(value))


def _write(job: Job, checkpoints: Checkpoints | None, folder: Path) -> None:
    told = {
        "rows": [asdict(row) for row in job.rows],
        "options": asdict(job.options),
        "base": str(job.base),
        "out": str(job.out),
        "checkpoints": str(checkpoints.folder) if checkpoints else "",
        "epochs": job.on_epoch is not None,
        "parent": os.getpid(),
    }
    publish_json(folder / "job.json", told)


def _follow(job: Job, folder: Path, stderr: Any) -> int:
    """Start the processes and pass on what the first one says; their exit status."""
    count = job.options.processes
    command = [sys.executable, "-m", _LAUNCH, "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", "0", "--num_processes", str(count)]
    # `--multi_gpu` is accelerate's name for its launcher of several processes; `--cpu` would start one.
    environment = {**QUIET, "OMP_NUM_THREADS": str(job.options.threads or 1), **os.environ}
    process = subprocess.Popen(
        [*command, "-m", "tutelage.distill.launch", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment,
        text=True,
    )
    assert process.stdout
    try:
        for line in process.stdout:
            _pass_on(job, line)
        return process.wait()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
        process.stdout.close()


def _pass_on(job: Job, line: str) -> None:
    if not line.startswith("{"):
        return
    told = json.loads(line)
    if "epoch" not in told:
        job.report(Progress(**told))
    elif job.on_epoch:
        try:
            job.on_epoch(told["epoch"], Path(told["folder"]))
        finally:
            Path(told["folder"], "examined").touch()


def _say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


def _examined(parent: int, number: int, folder: Path) -> None:
    """Wait until the parent has examined an epoch's weights."""
    _say({"epoch": number, "folder": str(folder)})
    while not (folder / "examined").exists():
        _need(parent)
        time.sleep(0.05)


def _need(parent: int) -> None:
    """End when the parent is gone: nobody would take what is made here."""
    try:
        os.kill(parent, 0)
    except ProcessLookupError:
        os._exit(1)


def main(folder: Path) -> None:
    """One of the processes."""
    told = json.loads((folder / "job.json").read_bytes())
    parent, first = told["parent"], os.environ.get("RANK", "0") == "0"

    def report(event: Progress) -> None:
        _need(parent)
        _say(asdict(event))

    job = Job(
        rows=[msgspec.convert(row, Row) for row in told["rows"]],
        base=Path(told["base"]),
        out=Path(told["out"]),
        options=msgspec.convert(told["options"], DistillOptions),
        report=report,
        on_epoch=(lambda number, at: _examined(parent, number, at)) if told["epochs"] else None,
    )
    try:
        made = train_here(job, Checkpoints(Path(told["checkpoints"])) if told["checkpoints"] else None)
    except BadInput as error:
        (folder / f"refused-{os.getpid()}").write_text(str(error))
        raise
    if first:
        (folder / "trained.json").write_bytes(msgspec.json.encode({**asdict(made), "adapter": str(made.adapter)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
