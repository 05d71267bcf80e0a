"""Distillation runs as their folders tell: the steps they took, the loss as it fell, and the report at the end."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..traffic.errors import UnknownName

REPORT, PROGRESS, HISTORY = "report.json", "progress.jsonl", "history.jsonl"


class Started(msgspec.Struct, frozen=True):
    """A row of `/tables/history`: one run that was started by the schedule."""

    at: float
    agent_id: str
    reason: str
    ended_at: float | None = None
    outcome: str = ""
    """`registered`, `rejected`, `failed`, `stopped`, `resumed` by the next one; empty while it runs."""
    version: str = ""
    message: str = ""


@dataclass(frozen=True)
class RunEvent:
    """A row of `/tables/run`: one word of a run."""

    at: float
    stage: str
    fraction: float
    """Share of the stage that is done, in [0, 1]."""
    message: str
    loss: float | None
    tokens_per_second: float | None


@dataclass(frozen=True)
class RunStory:
    """Everything that a run's folder tells."""

    run_id: str
    events: tuple[RunEvent, ...]
    report: dict[str, Any]
    """Empty until the run has finished."""

    @property
    def losses(self) -> list[float]:
        """Training loss in the order of the steps."""
        return [event.loss for event in self.events if event.loss is not None]


def story_of(runs: Path, run_id: str) -> RunStory:
    """The run of that id. Raises UnknownName."""
    folder = runs / run_id
    if "/" in run_id or run_id.startswith(".") or not folder.is_dir():
        raise UnknownName(f"There is no distillation run {run_id!r}. The page “Students” lists them.")
    path = folder / PROGRESS
    # A last line that is still being written is left out.
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    return RunStory(run_id, tuple(filter(None, map(_event, lines))), report_in(folder))


def history_in(runs: Path, limit: int = 50) -> list[Started]:
    """The runs that a schedule has started, the newest first; a line that cannot be read is left out."""
    path = runs / HISTORY
    found: dict[tuple[float, str], Started] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            one = msgspec.json.decode(line, type=Started)
        except msgspec.DecodeError:
            continue
        # A run's line at its end replaces the one at its begin.
        found[one.at, one.agent_id] = one
    return sorted(found.values(), key=lambda one: -one.at)[:limit]


def report_in(folder: Path) -> dict[str, Any]:
    """The report of a run or of a version; empty when there is none that can be read."""
    try:
        found = json.loads((folder / REPORT).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _event(line: str) -> RunEvent | None:
    try:
        said = json.loads(line)
        return RunEvent(
            float(said.get("at", 0.0)),
            str(said["stage"]),
            float(said.get("fraction", 0.0)),
            str(said.get("message", "")),
            said.get("loss"),
            said.get("tokens_per_second"),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
