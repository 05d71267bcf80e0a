"""Whose turn it is: a fixed number of slots, shared fairly by the versions that have calls waiting.

Deficit round robin (Shreedhar and Varghese, 1995): each version with waiting calls in turn gets a quantum of work, and
starts calls as long as what it has got covers their cost. So a version that is flooded with calls, or with long ones,
slows itself down and no other. When the queue is full, the version that waits with the most calls gives one up: a flood
cannot keep the others out either.

Invariant: a slot is free only when nobody waits. Everything happens on the event loop's thread; no lock is needed.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

QUANTUM = 2048.0
"""Work that a version may start in its turn, in the unit of `Ticket.cost`."""


class QueueFull(Exception):
    """There is no room to wait."""


@dataclass(eq=False)
class Ticket:
    """A call that wants a slot."""

    version: str
    cost: float
    """Estimated work, in tokens; above 0."""
    turn: asyncio.Future[None]
    """Done when the call may start; holds QueueFull when it lost its place to another one."""
    started: bool = False


class Slots:
    """`slots` calls run at a time, `queue` may wait."""

    def __init__(self, slots: int, queue: int) -> None:
        self._slots, self._queue = slots, queue
        self.running = 0
        self._waiting: dict[str, deque[Ticket]] = {}
        """By version; none is empty, and the first one's turn it is."""
        self._deficit: dict[str, float] = {}
        self._turn = ""
        """The version that has had its quantum and is still starting calls."""

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return sum(map(len, self._waiting.values()))

    def enter(self, version: str, cost: float) -> Ticket:
        """Stand in line; `turn` of the ticket says when. Call `leave` whatever comes. Raises QueueFull."""
        ticket = Ticket(version, cost, asyncio.get_running_loop().create_future())
        if self.running < self._slots:
            self._start(ticket)
            return ticket
        if self.waiting >= self._queue:
            self._make_room(version)
        self._waiting.setdefault(version, deque()).append(ticket)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """The call has ended, or no longer wants its turn."""
        if not ticket.turn.cancel() and not ticket.turn.cancelled():
            ticket.turn.exception()  # seen: who left did not ask
        if ticket.started:
            self.running -= 1
            self._fill()
        else:
            self._drop(ticket)

    def _make_room(self, version: str) -> None:
        """The newest call of the longest line goes, unless the newcomer would make its own line the longest."""
        longest = max(self._waiting, key=lambda name: len(self._waiting[name]), default=version)
        mine = len(self._waiting.get(version, ()))
        if longest == version or len(self._waiting[longest]) <= mine + 1:
            raise QueueFull
        victim = self._waiting[longest][-1]
        self._drop(victim)
        victim.turn.set_exception(QueueFull())

    def _fill(self) -> None:
        while self.running < self._slots and self._waiting:
            version, line = next(iter(self._waiting.items()))
            if version != self._turn:
                self._turn = version
                self._deficit[version] = self._deficit.get(version, 0.0) + QUANTUM
            if line[0].cost > self._deficit[version]:
                # Not covered: the version waits for its next turn, with what it has saved.
                self._waiting[version] = self._waiting.pop(version)
                self._turn = ""
                continue
            self._deficit[version] -= line[0].cost
            ticket = line[0]
            self._drop(ticket)
            self._start(ticket)

    def _start(self, ticket: Ticket) -> None:
        self.running, ticket.started = self.running + 1, True
        ticket.turn.set_result(None)

    def _drop(self, ticket: Ticket) -> None:
        line = self._waiting.get(ticket.version)
        if line and ticket in line:
            line.remove(ticket)
            if not line:
                # Nothing is saved up while nobody waits.
                del self._waiting[ticket.version]
                self._deficit.pop(ticket.version, None)
                self._turn = "" if self._turn == ticket.version else self._turn
