"""Whose turn it is: a fixed number of slots, shared fairly by the versions that have calls waiting.

Deficit round robin (Shreedhar and Varghese, 1995): each version with waiting calls in turn gets a quantum of work, and
starts calls as long as what it has got covers their cost. So a version that is flooded with calls, or with long ones,
slows itself down and no other. When the queue is full, the version that waits with the most calls gives one up: a flood
cannot keep the others out either.

Some engines write only the calls of one adapter together and let the others wait inside. Their versions share a *lane*,
which is one version's at a time: it starts its waiting calls together, and the next one's turn begins when they have
ended. A turn is longer there, since each change of turns leaves slots empty for a while.

Invariant: whoever waits has no slot that is free for it, or stands behind one in its lane that has none. Everything
happens on the event loop's thread; no lock is needed.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

QUANTUM = 2048.0
"""Work that a version may start in its turn, in the unit of `Ticket.cost`; in a lane so much for each slot."""


class QueueFull(Exception):
    """There is no room to wait."""


@dataclass(eq=False)
class Ticket:
    """A call that wants to be answered."""

    version: str
    cost: float
    """Estimated work, in tokens; above 0."""
    places: int
    """Slots that it takes; at least 1."""
    lane: str
    turn: asyncio.Future[None]
    """Done when the call may start; holds QueueFull when it lost its place to another one."""
    started: bool = False


def _no_lane(version: str) -> str:
    return ""


class Slots:
    """`slots` answers are written at a time, `queue` calls may wait. `lane` tells which versions share a lane; those
    of the empty lane run beside each other."""

    def __init__(self, slots: int, queue: int, lane: Callable[[str], str] = _no_lane) -> None:
        self._slots, self._queue, self._lane = slots, queue, lane
        self.running = 0
        """Slots that are taken."""
        self._inside: dict[str, list[Ticket]] = {}
        """Running calls by lane, those of the empty lane left out."""
        self._waiting: dict[str, deque[Ticket]] = {}
        """By version, in the order of their turns; none is empty."""
        self._deficit: dict[str, float] = {}
        self._turns: set[str] = set()
        """Versions that have had their quantum and are still starting calls."""

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return sum(map(len, self._waiting.values()))

    def enter(self, version: str, cost: float, places: int = 1) -> Ticket:
        """Stand in line; `turn` of the ticket says when. Call `leave` whatever comes. Raises QueueFull.

        More places than there are slots count as all of them."""
        turn = asyncio.get_running_loop().create_future()
        ticket = Ticket(version, cost, min(places, self._slots), self._lane(version), turn)
        self._waiting.setdefault(version, deque()).append(ticket)
        self._fill()
        if not ticket.started and self.waiting > self._queue:
            self._make_room(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """The call has ended, or no longer wants its turn."""
        if not ticket.turn.cancel() and not ticket.turn.cancelled():
            ticket.turn.exception()  # seen: who left did not ask
        if ticket.started:
            self.running -= ticket.places
            if ticket.lane:
                self._inside[ticket.lane].remove(ticket)
        else:
            self._drop(ticket)
        self._fill()

    def _make_room(self, newcomer: Ticket) -> None:
        """The newest call of the longest line goes, unless the newcomer made its own line as long."""
        longest = max(self._waiting, key=lambda name: len(self._waiting[name]))
        if len(self._waiting[longest]) <= len(self._waiting[newcomer.version]):
            self._drop(newcomer)
            raise QueueFull
        victim = self._waiting[longest][-1]
        self._drop(victim)
        victim.turn.set_exception(QueueFull())

    def _fill(self) -> None:
        while (ticket := self._next()) is not None:
            self._deficit[ticket.version] -= ticket.cost
            self._drop(ticket)
            self._start(ticket)

    def _next(self) -> Ticket | None:
        """The call that starts now, if any: the first version's in turn whose lane is free and whose turn covers it."""
        closed: set[str] = set()
        while (version := self._first_outside(closed)) is not None:
            ticket = self._waiting[version][0]
            if any(other.version != version for other in self._inside.get(ticket.lane, ())):
                # Also for those behind it: they must not overtake it for as long as they keep coming.
                closed.add(ticket.lane)
                continue
            if version not in self._turns:
                self._turns.add(version)
                self._deficit[version] = self._deficit.get(version, 0.0) + self._quantum(ticket)
            if ticket.cost <= self._deficit[version]:
                return ticket if self.running + ticket.places <= self._slots else None
            # Not covered: the version waits for its next turn, with what it has saved.
            self._turns.discard(version)
            self._waiting[version] = self._waiting.pop(version)
        return None

    def _first_outside(self, closed: set[str]) -> str | None:
        return next((version for version, line in self._waiting.items() if line[0].lane not in closed), None)

    def _quantum(self, ticket: Ticket) -> float:
        return QUANTUM * self._slots if ticket.lane else QUANTUM

    def _start(self, ticket: Ticket) -> None:
        self.running, ticket.started = self.running + ticket.places, True
        if ticket.lane:
            self._inside.setdefault(ticket.lane, []).append(ticket)
        ticket.turn.set_result(None)

    def _drop(self, ticket: Ticket) -> None:
        line = self._waiting.get(ticket.version)
        if line and ticket in line:
            line.remove(ticket)
            if not line:
                # Nothing is saved up while nobody waits.
                del self._waiting[ticket.version]
                self._deficit.pop(ticket.version, None)
                self._turns.discard(ticket.version)
