"""What people have changed about the patterns that were found: renamed, merged, split.

Found patterns are never touched. An edit is an event beside them, and the edits in force are a fold over the events,
so an undo gives exactly the state before. Merges and splits are made on agents, so that user turns and tool turns stay
together; they take agents out of use and put new ones, with ids of their own, in their place: a new version that
inherits the name, not the evidence.

A call is placed by its found pattern first; from there the edits lead on, from agent to agent, to the one in use.
Ids of agents made here are hashes of what they are made of, which is why no chain of edits can lead back to its start.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from .facts import digest

BY = ("line", "role", "tools", "model")
"""Facts to split by: a line of the reduced system prompt, the role of the last message, the hash of the tools, the
model that is asked for."""


class Traits(NamedTuple):
    """What a split may look at, of a call."""

    role: str
    tools: str
    lines: tuple[str, ...]
    model: str = ""


class Rename(msgspec.Struct, frozen=True, tag="rename"):
    """All versions of a name are called otherwise."""

    family: str
    """The name that was given when the first of them was found or made; it stays their own."""
    name: str


class Merge(msgspec.Struct, frozen=True, tag="merge"):
    """Calls of several agents become calls of one new agent."""

    sources: tuple[str, ...]
    """Agent ids; the name is the first one's."""
    agent_id: str
    family: str
    version: int


class Part(msgspec.Struct, frozen=True):
    """One side of a split: a new agent."""

    agent_id: str
    family: str
    version: int


class Split(msgspec.Struct, frozen=True, tag="split"):
    """Calls of one agent become calls of two new ones, told apart by one fact."""

    source: str
    by: str
    """One of BY."""
    value: str
    having: Part
    lacking: Part

    def holds(self, traits: Traits) -> bool:
        """Whether a call belongs to the part `having`."""
        if self.by == "line":
            return self.value in traits.lines
        return self.value == getattr(traits, self.by)


class Undo(msgspec.Struct, frozen=True, tag="undo"):
    """The newest edit in force is in force no more."""

    seq: int


Edit = Rename | Merge | Split
Change = Edit | Undo


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the history."""

    seq: int
    at: float
    """Unix seconds."""
    actor: str
    change: Change


def in_force(events: Iterable[Event]) -> tuple[Event, ...]:
    """The edits that have not been undone, oldest first. Raises ValueError for an undo of any but the newest."""
    stack: list[Event] = []
    for event in events:
        if not isinstance(event.change, Undo):
            stack.append(event)
        elif stack and stack[-1].seq == event.change.seq:
            stack.pop()
        else:
            newest = f"edit {stack[-1].seq}" if stack else "nothing"
            raise ValueError(f"event {event.seq} undoes edit {event.change.seq}, but {newest} was the newest in force")
    return tuple(stack)


def merged_agent(sources: Sequence[str]) -> str:
    """Id of the agent that a merge makes."""
    return "a_" + digest("merge", *sorted(sources), size=5)


def split_agent(source: str, by: str, value: str, holds: bool) -> str:
    """Id of the agent that one side of a split makes."""
    return "a_" + digest("split", source, by, value, "having" if holds else "lacking", size=5)


def made_pattern(agent_id: str, role: str) -> str:
    """Id of a pattern of an agent that was made by an edit."""
    return "p_" + digest("made", agent_id, role, size=5)


class Made(NamedTuple):
    """An agent that an edit has made."""

    agent_id: str
    family: str
    version: int
    at: float


class Edits:
    """The edits in force, ready to be asked. Immutable."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self.events = tuple(events)
        self.made: dict[str, Made] = {}
        """By agent id."""
        self._names: dict[str, str] = {}
        self._next: dict[str, tuple[int, Merge | Split]] = {}
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        change = event.change
        if isinstance(change, Rename):
            self._names[change.family] = change.name
        elif isinstance(change, Merge):
            self._next |= dict.fromkeys(change.sources, (event.seq, change))
            self._make(event, Part(change.agent_id, change.family, change.version))
        elif isinstance(change, Split):
            self._next[change.source] = event.seq, change
            self._make(event, change.having)
            self._make(event, change.lacking)

    def _make(self, event: Event, part: Part) -> None:
        self.made[part.agent_id] = Made(part.agent_id, part.family, part.version, event.at)

    def place(self, agent_id: str, traits: Traits) -> str:
        """The agent in use that a call of this found agent belongs to."""
        while found := self._next.get(agent_id):
            change = found[1]
            if isinstance(change, Merge):
                agent_id = change.agent_id
            else:
                agent_id = (change.having if change.holds(traits) else change.lacking).agent_id
        return agent_id

    def reached(self, agent_id: str, role: str, tools: str) -> list[str]:
        """All agents made by edits, in use or not, through which calls of a found pattern may go."""
        ahead, seen = [agent_id], []
        while ahead:
            at = ahead.pop(0)
            if at != agent_id and at not in seen:
                seen.append(at)
            if found := self._next.get(at):
                ahead += _branches(found[1], role, tools)
        return seen

    def shown(self, family: str) -> str:
        """What a family of versions is called now."""
        return self._names.get(family, family)

    def replaced_by(self, agent_id: str) -> tuple[int, tuple[str, ...]] | None:
        """For an agent out of use, the number of the edit and the agents it made; None for one in use."""
        found = self._next.get(agent_id)
        if found is None:
            return None
        seq, change = found
        if isinstance(change, Merge):
            return seq, (change.agent_id,)
        return seq, (change.having.agent_id, change.lacking.agent_id)


def _branches(change: Merge | Split, role: str, tools: str) -> list[str]:
    """Where calls of one role and tool set may go next; the lines of their prompts and their models are not known."""
    if isinstance(change, Merge):
        return [change.agent_id]
    sides = [change.having.agent_id, change.lacking.agent_id]
    if change.by in ("line", "model"):
        return sides
    return sides[:1] if change.holds(Traits(role, tools, ())) else sides[1:]
