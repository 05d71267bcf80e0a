"""The evidence on one student version and pattern, and how a label that changes later changes it.

Two bundles: what shadow has seen, and what has been seen while the student served. Each session goes into its bundle's
tests in the order in which it was heard. Tests are folds, so a changed loss cannot be put right in place: a `Trail`
keeps the last sessions and the bundle as it was before them, and folds them again with the new value. The result is
what would have been heard had the label been right at once; what was decided meanwhile stays decided.
"""

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from .gate import Gate
from .guard import Guard
from .nulls import Nulls
from .stricter import Stricter
from .threshold import Ladder, Scored

KEEP = 500
"""So many sessions of a trail, at least, can still change; twice as many at most are held."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """One session as evidence."""

    session: str
    loss: float
    """In [0, 1]; see `gate.session_loss`."""
    trial: bool = True
    """Whether it counts for the canary's own proof; False in live, where only the guard listens."""
    items: tuple[Scored, ...] = ()
    """Score and loss of the compared calls that have a score."""
    nulls: dict[str, float] = {}
    """See `nulls.watch`."""


class Shadowed(msgspec.Struct, frozen=True, kw_only=True):
    """What shadow has seen."""

    gate: Gate
    ladder: Ladder | None = None
    """None: thresholds are switched off."""
    nulls: Nulls = Nulls()

    def update(self, heard: Heard) -> "Shadowed":
        """The bundle after one more session."""
        ladder = self.ladder.update(heard.items) if self.ladder else None
        return Shadowed(gate=self.gate.update(heard.loss), ladder=ladder, nulls=self.nulls.update(heard.nulls))


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What has been seen of sessions that the student served."""

    canary: Gate
    guard: Guard
    nulls: Nulls = Nulls()
    clean: int = 0
    """Audited canary sessions whose loss was at most ε."""
    stricter: Stricter | None = None
    """The guard of the threshold that it may return to; None: there is none."""

    def update(self, heard: Heard) -> "Served":
        """The bundle after one more audited session."""
        guard, nulls = self.guard.update(heard.loss), self.nulls.update(heard.nulls)
        stricter = self.stricter.update(heard.items) if self.stricter else None
        watched = replace(self, guard=guard, nulls=nulls, stricter=stricter)
        if not heard.trial:
            return watched
        clean = self.clean + (heard.loss <= self.canary.epsilon)
        return replace(watched, canary=self.canary.update(heard.loss), clean=clean)


class Bundle(Protocol):
    """What a trail folds."""

    def update(self: "B", heard: Heard) -> "B": ...


B = TypeVar("B", bound=Bundle)


class Trail(msgspec.Struct, Generic[B], frozen=True, kw_only=True):
    """A bundle and the sessions that can still change. `now` is always `base` with all of `sessions` folded in."""

    base: B
    now: B
    sessions: tuple[Heard, ...] = ()

    def add(self, heard: Heard) -> "Trail[B]":
        """With one more session."""
        base, kept = self.base, (*self.sessions, heard)
        if len(kept) >= 2 * KEEP:
            base, kept = fold(base, kept[:KEEP]), kept[KEEP:]
        return Trail(base=base, now=self.now.update(heard), sessions=kept)

    def change(
        self, session: str, loss: float, items: tuple[Scored, ...], nulls: dict[str, float]
    ) -> "Trail[B] | None":
        """With another loss for a session that was heard; None when it is not among those that can still change."""
        for place in range(len(self.sessions) - 1, -1, -1):
            if self.sessions[place].session == session:
                changed = replace(self.sessions[place], loss=loss, items=items, nulls=nulls)
                kept = (*self.sessions[:place], changed, *self.sessions[place + 1 :])
                return Trail(base=self.base, now=fold(self.base, kept), sessions=kept)
        return None

    def bare(self) -> "Trail[B]":
        """Without its past: enough to decide on."""
        return Trail(base=self.now, now=self.now)


def fold(bundle: B, sessions: Sequence[Heard]) -> B:
    """The bundle after all of `sessions`, in their order."""
    for heard in sessions:
        bundle = bundle.update(heard)
    return bundle
