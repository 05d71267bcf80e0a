"""Sessions as they were exported, and on which side of the examination they fall.

The split is a salted hash of the session, so all calls of a session fall on one side, and a session stays on its side
in every later run. Only answers that the teacher gave can be lessons, and only where its terms allow it: what a student
once said is context. `selection` chooses among the sessions.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..traffic.actions import action_of, fitted_action, validate_action
from ..traffic.errors import BadInput, MissingExtra

Message = dict[str, Any]


@dataclass(frozen=True)
class CallRef:
    """One recorded call inside a trajectory."""

    call_id: str
    index: int
    """Place of its answer in the trajectory's messages."""
    pattern_id: str
    route: str
    """Who answered: `teacher` or `student`."""
    model: str
    started_at: float
    sound: bool = True
    """Whether the answer can be carried out: known tools, arguments that fit their schemas."""
    allowed: bool = True
    """Whether the terms of the teacher that gave it allow training on it."""


@dataclass(frozen=True)
class Trajectory:
    """One session of an agent, as exported."""

    trajectory_id: str
    session: str
    agent_id: str
    success: bool | None
    success_source: str
    tools: list[Message]
    messages: list[Message]
    calls: tuple[CallRef, ...]

    @property
    def trainable(self) -> tuple[CallRef, ...]:
        """The calls that the teacher answered, in a form that a student may give, and may be learnt from."""
        return tuple(call for call in self.calls if call.route == "teacher" and call.sound and call.allowed)


@dataclass(frozen=True)
class Export:
    """A snapshot of one agent's sessions."""

    agent_id: str
    name: str
    pattern_ids: list[str]
    skeleton: list[str]
    tools: list[Message]
    trajectories: list[Trajectory]
    snapshot_at: float
    """Unix seconds at which the newest call in it started."""
    digest: str
    """SHA-256 of the Parquet file."""


class Contrast(NamedTuple):
    """One session that is set apart: what a student should not do."""

    item: Trajectory
    reason: str
    """`failed`: not successful; `hijacked`: a tool's result gave the orders; `inconsistent`: answered otherwise than
    the teacher mostly answers to the same."""


@dataclass(frozen=True)
class Curated:
    """Both sides of the split, and what was left out."""

    train: list[Trajectory]
    held_out: list[Trajectory]
    dropped: dict[str, int]
    """Sessions left out, by reason: `not_successful`, `hijacked`, `no_teacher_turn`, `not_allowed`, `other_tools`,
    `inconsistent`, `duplicate`, `near_duplicate`, `over_limit`."""
    contrast: list[Contrast] = field(default_factory=list)
    """Failed runs and others to learn from by contrast, the newest first."""
    labels: dict[str, int] = field(default_factory=dict)
    """Sessions of both sides by the source that called them a success."""
    repaired: int = 0
    """Training sessions in which a tool failed and the agent put it right."""


def load(folder: Path) -> Export:
    """Read an export. Raises BadInput when the folder holds none."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtra("distill", "pyarrow") from error
    table, about = folder / "trajectories.parquet", folder / "agent.json"
    if not table.is_file() or not about.is_file():
        raise BadInput(
            f"Expected an export (agent.json and trajectories.parquet) in {folder}, found none. "
            "`tutelage distill run` makes one from the store."
        )
    agent = json.loads(about.read_bytes())
    trajectories = [_trajectory(row) for row in parquet.read_table(table).to_pylist()]
    newest = max((call.started_at for item in trajectories for call in item.calls), default=0.0)
    return Export(
        agent_id=agent["agent_id"],
        name=agent["name"],
        pattern_ids=list(agent["pattern_ids"]),
        skeleton=list(agent["skeleton"]),
        tools=list(agent["tools"]),
        trajectories=trajectories,
        snapshot_at=max(newest, float(agent.get("snapshot_at") or 0.0)),
        digest=hashlib.sha256(table.read_bytes()).hexdigest(),
    )


def _trajectory(row: dict[str, Any]) -> Trajectory:
    tools, messages = json.loads(row["tools"]) or [], json.loads(row["messages"])
    calls = [_call(call, messages, tools) for call in json.loads(row["calls"])]
    return Trajectory(
        trajectory_id=str(row["trajectory_id"]),
        session=str(row["session"] or row["trajectory_id"]),
        agent_id=row["agent_id"],
        success=row["success"],
        success_source=row["success_source"] or "",
        tools=tools,
        messages=messages,
        calls=tuple(sorted(calls, key=lambda call: call.index)),
    )


def is_sound(answer: Message, tools: list[Message]) -> bool:
    """Whether an answer can be carried out, lone values being put into arrays."""
    return not validate_action(fitted_action(action_of(answer), tools), tools)


def _call(call: dict[str, Any], messages: list[Message], tools: list[Message]) -> CallRef:
    index = int(call["index"])
    return CallRef(
        call_id=str(call["call_id"]),
        index=index,
        pattern_id=call.get("pattern_id") or "",
        route=call.get("route") or "teacher",
        model=call.get("model") or "",
        started_at=float(call.get("started_at") or 0.0),
        sound=is_sound(messages[index], tools),
    )


def held_out(session: str, share: float) -> bool:
    """Whether a session belongs to the examination side; the same answer in every run."""
    digest = hashlib.sha256(b"tutelage held-out v1\0" + session.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
