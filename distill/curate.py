"""Which sessions a student learns from, and which it is examined on.

Only successful sessions count, and only answers that the teacher gave: what a student once said is context, never a
lesson. The split is a salted hash of the session, so all calls of a session fall on one side, and a session stays on
its side in every later run. Exact near-duplicates (same opening, same first action) teach nothing new and are dropped
from the training side.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..traffic.actions import action_of, fitted_action, validate_action
from ..traffic.canonical import canonical, canonical_message
from ..traffic.errors import BadInput, MissingExtra
from ..traffic.intents import balanced

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
        """The calls that the teacher answered, and answered in a form that a student may give."""
        return tuple(call for call in self.calls if call.route == "teacher" and call.sound)


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


@dataclass(frozen=True)
class Curated:
    """Both sides of the split, and what was left out."""

    train: list[Trajectory]
    held_out: list[Trajectory]
    dropped: dict[str, int]
    """Sessions left out, by reason: `not_successful`, `no_teacher_turn`, `other_tools`, `duplicate`, `over_limit`."""


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


def _call(call: dict[str, Any], messages: list[Message], tools: list[Message]) -> CallRef:
    index = int(call["index"])
    return CallRef(
        call_id=str(call["call_id"]),
        index=index,
        pattern_id=call.get("pattern_id") or "",
        route=call.get("route") or "teacher",
        model=call.get("model") or "",
        started_at=float(call.get("started_at") or 0.0),
        sound=not validate_action(fitted_action(action_of(messages[index]), tools), tools),
    )


def held_out(session: str, share: float) -> bool:
    """Whether a session belongs to the examination side; the same answer in every run."""
    digest = hashlib.sha256(b"tutelage held-out v1\0" + session.encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def curate(
    trajectories: Sequence[Trajectory],
    *,
    share: float,
    max_train: int,
    max_held_out: int,
    tools: Sequence[Message] | None = None,
    varying: Callable[[list[Message]], Any] = lambda messages: messages,
    intent_of: Callable[[Trajectory], str] = lambda item: "",
) -> Curated:
    """Choose and split. `share`: part of the sessions held out, 0 to 1; the newest are kept where a limit binds.

    `tools`: the agent's tool set; sessions recorded under another one are left out, for their prompt is another.
    `varying`: the part of a session's opening messages that the student sees.
    `intent_of`: what a session is about; where the limit binds, all intents get their share of the training side."""
    dropped: Counter[str] = Counter()
    usable: list[Trajectory] = []
    wanted = None if tools is None else _tool_key(tools)
    for item in sorted(trajectories, key=_started, reverse=True):
        reason = _unusable(item, wanted)
        if reason:
            dropped[reason] += 1
        else:
            usable.append(item)
    examined = [item for item in usable if held_out(item.session, share)]
    taught, repeated = _without_repeats([item for item in usable if not held_out(item.session, share)], varying)
    dropped["duplicate"] += repeated
    dropped["over_limit"] += max(0, len(taught) - max_train) + max(0, len(examined) - max_held_out)
    return Curated(
        balanced(taught, intent_of, max_train), examined[:max_held_out], {name: n for name, n in dropped.items() if n}
    )


def _started(item: Trajectory) -> float:
    return item.calls[0].started_at if item.calls else 0.0


def _unusable(item: Trajectory, tools: bytes | None) -> str:
    if not item.success:
        return "not_successful"
    if not item.trainable:
        return "no_teacher_turn"
    if tools is not None and _tool_key(item.tools) != tools:
        return "other_tools"
    return ""


def _tool_key(tools: Sequence[Message]) -> bytes:
    return canonical(sorted(tools, key=lambda tool: str((tool.get("function") or {}).get("name"))))


def _without_repeats(
    items: Sequence[Trajectory], varying: Callable[[list[Message]], Any]
) -> tuple[list[Trajectory], int]:
    seen: set[bytes] = set()
    kept: list[Trajectory] = []
    for item in items:
        key = _opening(item, varying)
        if key not in seen:
            seen.add(key)
            kept.append(item)
    return kept, len(items) - len(kept)


def _opening(item: Trajectory, varying: Callable[[list[Message]], Any]) -> bytes:
    """What the student reads before its first answer, and that answer without its call ids."""
    first = item.trainable[0].index
    answer = item.messages[first]
    calls = [{"function": call.get("function")} for call in answer.get("tool_calls") or []]
    bare = {**answer, "tool_calls": calls} if calls else answer
    return hashlib.sha256(canonical(varying(item.messages[:first])) + b"\0" + canonical_message(bare)).digest()
