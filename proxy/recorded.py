"""Recorded agent traffic in the form of docs/recorded-traffic.md: one trajectory a line, plain or gzipped JSON.

A recorded call is the conversation up to an assistant message together with that message: nothing is stored twice.
"""

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..traffic.errors import BadInput

Message = dict[str, Any]


class RecordedCall(msgspec.Struct, frozen=True, kw_only=True):
    """Which assistant message was a call, and what is known about it."""

    i: int
    """Index of the assistant message in `messages`."""
    usage: tuple[int, int] | None = None
    """Prompt and completion tokens."""
    created: float | None = None
    latency_ms: float | None = None


class RecordedTrajectory(msgspec.Struct, frozen=True, kw_only=True):
    """One agent run. Further fields of the line are ignored."""

    trajectory_id: str
    messages: list[Message]
    calls: list[RecordedCall]
    tools: list[dict[str, Any]] = []
    teacher: str = "recorded"
    task_id: str = ""
    domain: str = ""
    trajectory_success: bool | None = None

    def request(self, call: RecordedCall) -> dict[str, Any]:
        """The chat completion request that this call was."""
        request: dict[str, Any] = {"model": self.teacher, "messages": self.messages[: call.i]}
        return request | {"tools": self.tools} if self.tools else request

    def answer(self, call: RecordedCall) -> Message:
        """The assistant message that answered it."""
        return self.messages[call.i]


_decoder = msgspec.json.Decoder(RecordedTrajectory)


def read_recorded(path: Path) -> Iterator[RecordedTrajectory]:
    """The trajectories of a file. Raises BadInput with the line when one does not fit the form."""
    with path.open("rb") as file, gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield _trajectory(path, number, line)


def read_all(files: Iterable[Path], limit: int | None = None) -> list[RecordedTrajectory]:
    """The trajectories of several files, in order; at most `limit`. Raises BadInput."""
    found: list[RecordedTrajectory] = []
    for path in files:
        try:
            for trajectory in read_recorded(path):
                if limit is not None and len(found) >= limit:
                    return found
                found.append(trajectory)
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(
                f"{path} cannot be read: {error}. Expected recorded traffic, one trajectory a line, plain or .gz."
            ) from error
    return found


def _trajectory(path: Path, number: int, line: bytes) -> RecordedTrajectory:
    try:
        trajectory = _decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}, line {number}: {error}. See docs/recorded-traffic.md for the form.") from error
    for call in trajectory.calls:
        inside = 0 <= call.i < len(trajectory.messages)
        if not inside or trajectory.messages[call.i].get("role") != "assistant":
            raise BadInput(f"{path}, line {number}: calls name message {call.i}, which is no assistant message.")
    return trajectory
