"""What a run tells the world while it works, and the folder that keeps it.

Each run has a folder `DATA/runs/ID` with `progress.jsonl` (one JSON object a line, appended and flushed as things
happen, so a dashboard can follow it), and, at its end, `report.json`. The last line's `stage` is `finished` or
`failed`; a file that ends otherwise belongs to a run that is alive or was killed.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

from ..traffic.layout import DataDir, publish_json

STAGES = ("scrub", "curate", "rows", "audit", "train", "evaluate", "register")
"""In the order in which a run goes through them; then comes `finished` or `failed`."""


@dataclass(frozen=True)
class Progress:
    """One event of a run."""

    stage: str
    """One of STAGES, `finished` or `failed`."""
    fraction: float
    """Share of this stage that is done, 0 to 1."""
    message: str = ""
    loss: float | None = None
    """Mean loss over the trained tokens of the last step."""
    tokens_per_second: float | None = None
    """Tokens read a second, trained or not, since training began."""
    seconds_left: float | None = None
    """Estimate for the rest of this stage."""
    at: float = field(default_factory=time.time)
    """Unix seconds."""


def line(event: Progress) -> str:
    """The event as one line for a terminal."""
    facts = [f"{event.stage:<9}", f"{event.fraction:4.0%}", event.message]
    if event.loss is not None:
        facts.append(f"loss {event.loss:.3f}")
    if event.tokens_per_second is not None:
        facts.append(f"{event.tokens_per_second:.0f} tokens/s")
    if event.seconds_left is not None:
        facts.append(f"{event.seconds_left:.0f} s left")
    return "  ".join(fact for fact in facts if fact)


Report = Callable[[Progress], None]

OnEpoch = Callable[[int, Path], None]
"""Called with the number of an epoch that has ended (from 1) and the folder of its weights, which is removed after."""


def silent(_: Progress) -> None:
    """A report that goes nowhere."""


class RunLog:
    """The folder of one run. Only the process of that run writes it, so nothing is locked."""

    def __init__(self, data: DataDir, run_id: str, also: Report = silent) -> None:
        self.run_id = run_id
        self.folder = data.runs / run_id
        self.folder.mkdir(parents=True, exist_ok=True)
        self._also = also
        self._file = (self.folder / "progress.jsonl").open("a", encoding="utf-8")

    def __call__(self, progress: Progress) -> None:
        """Write one line and pass the event on."""
        event = {name: value for name, value in asdict(progress).items() if value is not None}
        self._file.write(json.dumps(event, ensure_ascii=False) + "\n")
        self._file.flush()
        self._also(progress)

    def finish(self, report: dict[str, Any]) -> None:
        """Write the report, whole or not at all."""
        publish_json(self.folder / "report.json", report)

    def close(self) -> None:
        self._file.close()


def read_progress(folder: Path) -> list[Progress]:
    """The events of a run in order; a last line that is still being written is left out."""
    path = folder / "progress.jsonl"
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [Progress(**json.loads(line)) for line in lines]


def new_run_id(name: str, now: float) -> str:
    """`YYYYMMDD-HHMMSS-NAME` in UTC: sorts by time."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime(now)) + f"-{name}"


def free_run_id(runs: Path, name: str, now: float) -> str:
    """A run id that no folder has: one that failed at once may be followed within its second."""
    first = new_run_id(name, now)
    others = (f"{first}-{number}" for number in count(2))
    return next(run_id for run_id in chain([first], others) if not (runs / run_id).exists())
