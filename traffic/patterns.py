"""What kind of work a call asks for, decided in two exact steps.

1. Key: a hash over caller scope, tools, tool choice, response format and the role of the last message; see `facts`.
2. Under that key, the registered skeleton that the system prompt matches; the one with most constant text wins.

An agent is a key without the role together with a skeleton: its user turns and its tool turns share both. A pattern
is an agent in one role. A name given by the caller (a header) takes the place of the skeleton.

Where people have merged or split agents (see `pattern_edits`), a call goes on from the pattern that was found to the
one that was made of it.

Invariants: identifying reads memory only, and an id, once given, always stands for the same key and skeleton. The
order of tools and of JSON keys does not matter; anything else that a registered skeleton does not allow for does.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from .errors import BadInput
from .facts import Facts, facts_of
from .layout import publish
from .pattern_edits import Edits, Event, Traits, made_pattern
from .skeleton import Skeleton

__all__ = ["Facts", "Match", "PatternEntry", "Registry", "RegistryReader", "facts_of"]

REGISTRY_VERSION = 1
"""Version of the file form, of the reduction of prompts and of the keys: a change of any of them needs a new one."""


class Match(NamedTuple):
    """Where a request belongs."""

    pattern_id: str
    agent_id: str
    version: int


class PatternEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One pattern as the registry keeps it. Never changed once it is written."""

    pattern_id: str
    """`p_` and 10 hex digits."""
    agent_id: str
    """`a_` and 10 hex digits; the same for all roles of one agent."""
    name: str
    """For people; versions of one agent share it."""
    version: int
    role: str
    agent_key: str
    hint: str = ""
    """The name that the caller gives it; empty for a pattern that was found."""
    skeleton: tuple[str, ...] = ()
    tools: str = ""
    tool_names: tuple[str, ...] = ()
    created_at: float = 0.0
    """Unix seconds."""
    made_of: tuple[str, ...] = ()
    """For a pattern that an edit made: the found patterns whose calls may come to it."""

    @property
    def match(self) -> Match:
        return Match(self.pattern_id, self.agent_id, self.version)


class _Agent:
    """The patterns of one key and skeleton."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self.roles: dict[str, PatternEntry] = {}


class Registry:
    """All known patterns. An entry never changes. Threads may identify while one thread adds or retires."""

    def __init__(self, entries: Iterable[PatternEntry] = (), edits: Sequence[Event] = ()) -> None:
        """`edits` are those in force, oldest first."""
        self.revision = 0
        """Grows with every change."""
        self._entries: dict[str, PatternEntry] = {}
        self._agents: dict[str, list[_Agent]] = {}
        self._hinted: dict[tuple[str, str], _Agent] = {}
        # Replaced together, so that a thread sees the edits with the patterns that they make.
        self._view = _View(Edits(edits), {})
        for entry in entries:
            self.add(entry)

    def add(self, entry: PatternEntry) -> bool:
        """Take up a found pattern; False when its id is known already, which then stays as it is."""
        if entry.pattern_id in self._entries or entry.made_of:
            return False
        self._entries[entry.pattern_id] = entry
        if self.edits.events:
            self._view = _view(self.edits, self._entries.values())
        self._agent_of(entry).roles[entry.role] = entry
        self.revision += 1
        return True

    def retire(self, pattern_ids: Collection[str]) -> None:
        """Forget found patterns, until their calls come back: they get the same ids then. Unknown ids are ignored."""
        gone = [self._entries.pop(one) for one in pattern_ids if one in self._entries]
        for entry in gone:
            agent = self._agent_of(entry)
            agent.roles.pop(entry.role, None)
            if not agent.roles and entry.hint:
                del self._hinted[entry.agent_key, entry.hint]
            elif not agent.roles:
                left = [one for one in self._agents[entry.agent_key] if one is not agent]
                self._agents[entry.agent_key] = left
                if not left:
                    del self._agents[entry.agent_key]
        if gone:
            self._view = _view(self.edits, self._entries.values())
            self.revision += 1

    def edit(self, edits: Sequence[Event]) -> None:
        """Put these edits in force, oldest first, instead of the present ones."""
        self._view = _view(Edits(edits), self._entries.values())
        self.revision += 1

    @property
    def edits(self) -> Edits:
        """The edits in force."""
        return self._view.edits

    def _agent_of(self, entry: PatternEntry) -> _Agent:
        if entry.hint:
            return self._hinted.setdefault((entry.agent_key, entry.hint), _Agent(Skeleton()))
        agents = self._agents.get(entry.agent_key, [])
        for agent in agents:
            if agent.skeleton.lines == entry.skeleton:
                return agent
        agent = _Agent(Skeleton(entry.skeleton))
        # A new list, so that a thread that walks the old one is not disturbed. Ties go by the text: no order of
        # arrival may decide.
        ranked = sorted([*agents, agent], key=lambda one: (-one.skeleton.size, one.skeleton.lines))
        self._agents[entry.agent_key] = ranked
        return agent

    def identify(self, facts: Facts, hint: str = "") -> Match | None:
        """The pattern of a request, or None for an unknown one."""
        entry = self.roles_of(facts, hint).get(facts.role)
        return self.placed(entry, facts).match if entry else None

    def placed(self, entry: PatternEntry, facts: Facts) -> PatternEntry:
        """The pattern that a call of this found one belongs to under the edits in force."""
        edits, made = self._view
        if edits.replaced_by(entry.agent_id) is None:
            return entry
        agent_id = edits.place(entry.agent_id, Traits(facts.role, facts.tools, facts.lines, facts.model))
        return made[made_pattern(agent_id, entry.role)]

    def roles_of(self, facts: Facts, hint: str = "") -> dict[str, PatternEntry]:
        """The patterns, as they were found, by role, of the agent that a request comes from; empty when unknown."""
        if hint:
            agent = self._hinted.get((facts.agent_key, hint))
            return agent.roles if agent else {}
        for agent in self._agents.get(facts.agent_key, ()):
            if agent.skeleton.matches(facts.system):
                return agent.roles
        return {}

    def entries(self) -> list[PatternEntry]:
        """All patterns under their present names: those found in the order they were found, then those made by edits.

        Patterns out of use are among them, for their calls are still in the store.
        """
        edits, made = self._view
        return [_named(entry, edits) for entry in [*self._entries.values(), *made.values()]]

    def found(self) -> list[PatternEntry]:
        """The patterns as they were found, whatever has been edited since."""
        return list(self._entries.values())

    def get(self, pattern_id: str) -> PatternEntry | None:
        edits, made = self._view
        entry = self._entries.get(pattern_id) or made.get(pattern_id)
        return _named(entry, edits) if entry else None

    def next_version(self, family: str) -> int:
        """Number for a new version of a family; 1 for a new family."""
        edits, made = self._view
        known = [*self._entries.values(), *made.values(), *edits.made.values()]
        own = (one.version for one in known if (one.name if isinstance(one, PatternEntry) else one.family) == family)
        return 1 + max(own, default=0)

    def taken_names(self) -> set[str]:
        """Names in use, and those that would be again after an undo."""
        return {entry.name for entry in (*self._entries.values(), *self._view.made.values(), *self.entries())}

    def __len__(self) -> int:
        return len(self._entries)

    @classmethod
    def load(cls, path: Path) -> "Registry":
        """The registry in a file; an empty one when there is no file. Raises BadInput."""
        try:
            return cls.decode(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except msgspec.DecodeError as error:
            raise BadInput(
                f"{path} is no pattern registry: {error}. Restore it, or delete it to start anew."
            ) from error

    @classmethod
    def decode(cls, content: bytes) -> "Registry":
        """The registry in the content of a file. Raises msgspec.DecodeError or BadInput."""
        file = msgspec.json.decode(content, type=_File)
        if file.version != REGISTRY_VERSION:
            raise BadInput(f"Expected a pattern registry of version {REGISTRY_VERSION}, got {file.version}. Update.")
        return cls(file.patterns, file.edits)

    def publish(self, path: Path) -> None:
        """Write all patterns so that readers see the old or the new file, never a part."""
        file = _File(version=REGISTRY_VERSION, patterns=self.found(), edits=list(self.edits.events))
        publish(path, msgspec.json.encode(file))


class _View(NamedTuple):
    """The edits in force and the patterns that they make, by id."""

    edits: Edits
    made: dict[str, PatternEntry]


def _view(edits: Edits, found: Iterable[PatternEntry]) -> _View:
    members: dict[tuple[str, str], list[PatternEntry]] = {}
    for entry in found if edits.made else ():
        for agent_id in edits.reached(entry.agent_id, entry.role, entry.tools):
            members.setdefault((agent_id, entry.role), []).append(entry)
    made = [_made(edits, agent_id, role, entries) for (agent_id, role), entries in members.items()]
    return _View(edits, {entry.pattern_id: entry for entry in made})


def _made(edits: Edits, agent_id: str, role: str, members: list[PatternEntry]) -> PatternEntry:
    """What an edit made of these patterns. What they do not share is not constant in it: no skeleton is left then."""
    agent, first = edits.made[agent_id], members[0]
    return msgspec.structs.replace(
        first,
        pattern_id=made_pattern(agent_id, role),
        agent_id=agent_id,
        name=agent.family,
        version=agent.version,
        skeleton=first.skeleton if len({entry.skeleton for entry in members}) == 1 else (),
        tools=first.tools if len({entry.tools for entry in members}) == 1 else "",
        tool_names=tuple(sorted({name for entry in members for name in entry.tool_names})),
        created_at=agent.at,
        made_of=tuple(entry.pattern_id for entry in members),
    )


def _named(entry: PatternEntry, edits: Edits) -> PatternEntry:
    name = edits.shown(entry.name)
    return entry if name == entry.name else msgspec.structs.replace(entry, name=name)


class _File(msgspec.Struct, kw_only=True):
    version: int
    patterns: list[PatternEntry]
    edits: list[Event] = []
    """Those in force, oldest first."""


@dataclass
class RegistryReader:
    """A worker's view of the published registry. `current` is cheap: at most one `stat` per `every_s` seconds."""

    path: Path
    every_s: float = 0.2
    registry: Registry = field(default_factory=Registry)
    error: str = ""
    """Why the newest file could not be read; the last good registry stays in use."""
    _looked: float = -1e9
    _stamp: tuple[int, int] = (0, 0)

    def current(self) -> Registry:
        """The newest readable registry; an empty one before the first."""
        now = time.monotonic()
        if now - self._looked >= self.every_s:
            self._looked = now
            self._refresh()
        return self.registry

    def _refresh(self) -> None:
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._stamp:
                self.registry = Registry.decode(self.path.read_bytes())
                self._stamp, self.error = stamp, ""
        except FileNotFoundError:
            return
        except (OSError, BadInput, msgspec.DecodeError) as error:
            self.error = f"{self.path.name}: {error}"
