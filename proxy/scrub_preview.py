"""What scrubbing makes of one run, shown before anybody trains on it.

The work is done by a process of `distill` (Presidio is never loaded here), started when somebody asks.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from ..traffic import queries
from ..traffic.canonical import loads
from ..traffic.errors import TutelageError
from ..traffic.skeleton import system_text
from ..traffic.store import Store
from .figures import count
from .views import Site
from .views_messages import message_view

LIMIT_S = 300.0
KEPT_S = 600.0
NO_NAMES = "Names in running text were looked for by lists and rules alone: no spaCy model is installed."
SAMPLES = 20
"""Other runs of the agent whose system prompts tell what all of them share."""

Scrub = Callable[[bytes], bytes]
"""From the request of `distill.preview` to its answer. Raises TutelageError."""


class _Preview(msgspec.Struct):
    messages: list[dict[str, Any]]
    counts: dict[str, int]
    stand_ins: list[str]
    knows_names: bool


@dataclass(frozen=True)
class Piece:
    """A stretch of text."""

    text: str
    stand_in: bool


@dataclass(frozen=True)
class ScrubbedMessage:
    """One message as a student would learn it."""

    role: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class ScrubPage:
    """One run without personal values."""

    trajectory_id: str
    back: str
    waiting: bool
    """The process is at work."""
    problem: str
    """Why it cannot be shown; empty otherwise."""
    messages: tuple[ScrubbedMessage, ...]
    summary: str
    names_note: str


def run_preview(request: bytes) -> bytes:
    """Ask a process of `distill`. Raises TutelageError with its own words when it fails."""
    command = [sys.executable, "-m", "tutelage.distill.preview"]
    try:
        done = subprocess.run(command, input=request, capture_output=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise TutelageError(f"Scrubbing this run took longer than {LIMIT_S:.0f} s and was given up.") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise TutelageError(f"This run could not be scrubbed: {said[-1] if said else 'no reason given'}")
    return done.stdout


def scrub_page(site: Site, trajectory_id: str, scrub: Scrub = run_preview) -> ScrubPage:
    """The page; the work is done beside, for loading Presidio takes seconds. Raises UnknownName."""
    found = queries.show_trajectory(site.store, trajectory_id)

    def make() -> _Preview | str:
        try:
            return msgspec.json.decode(scrub(_request(site, found)), type=_Preview)
        except TutelageError as error:
            return str(error)

    shown = site.memo.later(("scrubbed", trajectory_id, len(found.calls)), make, KEPT_S)
    done = shown if isinstance(shown, _Preview) else _Preview([], {}, [], True)
    kinds = ", ".join(f"{number} × {kind.replace('_', ' ').lower()}" for kind, number in sorted(done.counts.items()))
    return ScrubPage(
        trajectory_id=trajectory_id,
        back=f"/trajectories/{quote(trajectory_id, safe='')}",
        waiting=shown is None,
        problem=shown if isinstance(shown, str) else "",
        messages=tuple(_message(message, done.stand_ins) for message in done.messages),
        summary=f"{count(sum(done.counts.values()))} values exchanged: {kinds}" if kinds else "Nothing exchanged",
        names_note="" if done.knows_names else NO_NAMES,
    )


def _request(site: Site, found: queries.TrajectoryDetail) -> bytes:
    run = found.trajectory
    others = queries.list_trajectories(site.store, SAMPLES, agent=run.agent_id) if run.agent_id else []
    texts = [
        system_text(queries.show_trajectory(site.store, one.trajectory_id).messages)
        for one in others
        if one.trajectory_id != run.trajectory_id
    ]
    return msgspec.json.encode(
        {
            "data": str(site.data.root),
            "trajectory_id": run.trajectory_id,
            "messages": found.messages,
            "tools": _tools(site.store, run.trajectory_id),
            "system_texts": [system_text(found.messages), *texts],
            "rules": site.options.scrub,
        }
    )


def _tools(store: Store, trajectory_id: str) -> Any:
    sql = "SELECT t.body FROM calls c JOIN toolsets t USING (toolset_id) WHERE c.trajectory_id = ? LIMIT 1"
    body = store.value(sql, [trajectory_id])
    return loads(body.encode()) if body else []


def _message(message: dict[str, Any], stand_ins: Sequence[str]) -> ScrubbedMessage:
    view = message_view(message)
    text = "\n".join(part for part in (view.text, *view.calls) if part)
    return ScrubbedMessage(view.role, tuple(pieces_of(text, stand_ins)))


def pieces_of(text: str, stand_ins: Sequence[str]) -> list[Piece]:
    """A text cut at the stand-ins in it, the longest first; joined, the pieces are the text."""
    pieces = [Piece(text, False)]
    for word in sorted(filter(None, stand_ins), key=len, reverse=True):
        pieces = [part for piece in pieces for part in ([piece] if piece.stand_in else _cut(piece.text, word))]
    return [piece for piece in pieces if piece.text]


def _cut(text: str, word: str) -> list[Piece]:
    found: list[Piece] = []
    for number, part in enumerate(text.split(word)):
        found += [Piece(word, True)] if number else []
        found.append(Piece(part, False))
    return found
