"""The online recogniser: gives calls their pattern, and finds new patterns in calls that have none.

Calls of unknown agents wait, per agent key, until the constant lines of their system prompt are clear:

    8 equal prompts from several conversations, and no others beside them   clear at once
    30 calls, then every 10 further ones                                    whatever `find_skeletons` sees in them
    a name given by the caller                                              a pattern at once

Then the pattern gets its id, and the waiting calls that match are settled. Waiting calls are bounded, oldest out
first; a call that drops out stays without a pattern. Ids are hashes of what they stand for, so finding the same
skeleton again, in another process or after a restart, gives the same id.

Patterns are bounded too: of more than `max_patterns` those that were used least recently are retired, but for those
that somebody depends on. The store has all of them; a retired one is found again when its calls come back.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import NamedTuple

from .facts import Facts, digest
from .naming import name_of, relative_of
from .patterns import PatternEntry, Registry
from .skeleton import Skeleton
from .statics import find_skeletons


class Recognised(NamedTuple):
    """The place of a call."""

    pattern_id: str
    agent_id: str


class Assignment(NamedTuple):
    """The place of a call that had to wait for it."""

    call_id: str
    pattern_id: str
    agent_id: str


class _Waiting:
    """Calls of one agent key that have no pattern yet. Calls with and without a system prompt wait apart."""

    def __init__(self) -> None:
        self.calls: OrderedDict[str, Facts] = OrderedDict()
        self.characters = 0
        self.unseen = 0
        """Calls added since `find_skeletons` last looked."""

    def add(self, call_id: str, facts: Facts) -> None:
        self.remove(call_id)
        self.calls[call_id] = facts
        self.characters += len(facts.system)
        self.unseen += 1

    def remove(self, call_id: str) -> None:
        facts = self.calls.pop(call_id, None)
        self.characters -= len(facts.system) if facts else 0

    def all_equal(self, calls: int, conversations: int) -> bool:
        """Whether at least so many calls from so many conversations wait, all with one prompt."""
        if len(self.calls) < calls or len({facts.system for facts in self.calls.values()}) > 1:
            return False
        return len({facts.opening for facts in self.calls.values()}) >= conversations


class Discovery:
    """Recognises calls one by one and registers the patterns it finds. Not thread-safe: one ingest feeds it."""

    def __init__(
        self,
        registry: Registry,
        *,
        min_calls: int = 30,
        min_identical: int = 8,
        min_conversations: int = 4,
        look_every: int = 10,
        max_waiting: int = 200,
        max_keys: int = 2_000,
        max_characters: int = 64 << 20,
        max_patterns: int = 5_000,
        recall: Callable[[str], PatternEntry | None] = lambda pattern_id: None,
        needed: Callable[[], Collection[str]] = tuple,
        used: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`recall` gives back a pattern that was retired, as it was. Patterns that are `needed` (their ids) are never
        retired. `used` are ids of known patterns, the least recently used first."""
        self.registry = registry
        self._min_calls = min_calls
        self._min_identical = min_identical
        self._min_conversations = min_conversations
        self._look_every = look_every
        self._max_waiting = max_waiting
        """Calls per agent key."""
        self._max_keys = max_keys
        self._max_characters = max_characters
        """Prompt text of all waiting calls together."""
        self._max_patterns = max_patterns
        self._recall, self._needed, self._clock = recall, needed, clock
        self._used = dict.fromkeys(entry.pattern_id for entry in registry.found())
        """Found patterns, the least recently used first."""
        for pattern_id in used:
            self._use(pattern_id)
        self._waiting: OrderedDict[tuple[str, bool], _Waiting] = OrderedDict()
        self._characters = 0
        self._places: dict[tuple[str, str, str], tuple[PatternEntry, Recognised | None]] = {}
        """Patterns as they were found, since the registry changed; with the place of calls unless it was edited."""
        self._places_of = 0
        self._settled: list[Assignment] = []
        self._new: list[PatternEntry] = []
        self._retire()

    def observe(self, call_id: str, facts: Facts, hint: str = "") -> Recognised | None:
        """The place of a call, or None while it is unknown; `settled` tells later where it belongs."""
        if place := self._known(facts, hint):
            return place
        if hint:
            return self._placed(self._register(facts, (), hint), facts)
        waiting = self._wait(call_id, facts)
        skeletons = self._clear(waiting, facts)
        for skeleton in skeletons:
            example = next(one for one in waiting.calls.values() if skeleton.matches(one.system))
            self._register(example, skeleton.lines, "")
        return self._settle(call_id, waiting) if skeletons else None

    def settled(self) -> list[Assignment]:
        """Earlier calls that have found their place since the last time this was asked."""
        done, self._settled = self._settled, []
        return done

    def new_patterns(self) -> list[PatternEntry]:
        """Patterns registered since the last time this was asked."""
        done, self._new = self._new, []
        return done

    @property
    def waiting(self) -> int:
        """Calls that wait for a pattern."""
        return sum(len(waiting.calls) for waiting in self._waiting.values())

    def _known(self, facts: Facts, hint: str) -> Recognised | None:
        # Matching is work for every line of the prompt, and the same prompt comes with every turn of a run.
        if self.registry.revision != self._places_of:
            self._places.clear()
            self._places_of = self.registry.revision
        key = facts.key, facts.system, hint
        known = self._places.get(key)
        if known is None and (entry := self._find(facts, hint)) is not None:
            if len(self._places) >= self._max_keys:
                self._places.clear()
            place = self._placed(entry, facts)
            known = self._places[key] = entry, place if place.pattern_id == entry.pattern_id else None
        if known is None:
            return None
        entry, place = known
        self._use(entry.pattern_id)
        return place or self._placed(entry, facts)

    def _use(self, pattern_id: str) -> None:
        if pattern_id in self._used:
            del self._used[pattern_id]
            self._used[pattern_id] = None

    def _placed(self, entry: PatternEntry, facts: Facts) -> Recognised:
        """The place of a call of this found pattern, after what people have merged and split."""
        placed = self.registry.placed(entry, facts)
        return Recognised(placed.pattern_id, placed.agent_id)

    def _find(self, facts: Facts, hint: str) -> PatternEntry | None:
        roles = self.registry.roles_of(facts, hint)
        if entry := roles.get(facts.role):
            return entry
        if sibling := next(iter(roles.values()), None):
            return self._register(facts, sibling.skeleton, hint, sibling)
        return None

    def _register(
        self, facts: Facts, lines: tuple[str, ...], hint: str, sibling: PatternEntry | None = None
    ) -> PatternEntry:
        """Give a pattern its ids. A sibling is the same agent in another role."""
        pattern_id = "p_" + digest("pattern", facts.key, hint, *lines, size=5)
        entry = self._recall(pattern_id) or self._made(pattern_id, facts, lines, hint, sibling)
        if self.registry.add(entry):
            self._new.append(entry)
            self._used[entry.pattern_id] = None
            self._retire()
        return entry

    def _made(
        self, pattern_id: str, facts: Facts, lines: tuple[str, ...], hint: str, sibling: PatternEntry | None
    ) -> PatternEntry:
        if sibling:
            name, version = sibling.name, sibling.version
        else:
            name, version = self._name(facts, lines, hint)
        return PatternEntry(
            pattern_id=pattern_id,
            agent_id="a_" + digest("agent", facts.agent_key, hint, *lines, size=5),
            name=name,
            version=version,
            role=facts.role,
            agent_key=facts.agent_key,
            hint=hint,
            skeleton=lines,
            tools=facts.tools,
            tool_names=facts.tool_names,
            created_at=self._clock(),
        )

    def _retire(self) -> None:
        """Retire what is too many, a few more than that: each time, those that stay may have to be read again."""
        if len(self._used) <= self._max_patterns:
            return
        surplus = len(self._used) - self._max_patterns + self._max_patterns // 20
        # What people have edited leads on to other patterns, and the newest one is in use this moment.
        edited = {one.pattern_id for one in self.registry.found() if self.registry.edits.replaced_by(one.agent_id)}
        kept = {*edited, *self._needed(), next(reversed(self._used))}
        gone = list(islice((one for one in self._used if one not in kept), surplus))
        for pattern_id in gone:
            del self._used[pattern_id]
        self.registry.retire(gone)

    def _name(self, facts: Facts, lines: tuple[str, ...], hint: str) -> tuple[str, int]:
        # By the names that were given, not by those that people gave later: undoing that must not part a family.
        if inherited := relative_of(self.registry.found(), facts, lines, hint):
            return inherited, self.registry.next_version(inherited)
        return name_of(facts, lines, hint, self.registry.taken_names()), 1

    def _wait(self, call_id: str, facts: Facts) -> _Waiting:
        key = (facts.agent_key, bool(facts.system))
        waiting = self._waiting.setdefault(key, _Waiting())
        self._waiting.move_to_end(key)
        before = waiting.characters
        waiting.add(call_id, facts)
        while len(waiting.calls) > self._max_waiting or waiting.characters > self._max_characters:
            waiting.remove(next(iter(waiting.calls)))
        self._characters += waiting.characters - before
        while self._characters > self._max_characters or len(self._waiting) > self._max_keys:
            self._characters -= self._waiting.popitem(last=False)[1].characters
        return waiting

    def _clear(self, waiting: _Waiting, facts: Facts) -> list[Skeleton]:
        """Skeletons that the waiting calls make clear now."""
        if waiting.all_equal(self._min_identical, self._min_conversations) or waiting.all_equal(self._min_calls, 1):
            return [Skeleton(facts.lines)]
        if len(waiting.calls) < self._min_calls or waiting.unseen < self._look_every:
            return []
        waiting.unseen = 0
        prompts = [one.lines for one in waiting.calls.values()]
        return find_skeletons(prompts, self._min_identical, bool(facts.tools))

    def _settle(self, call_id: str, waiting: _Waiting) -> Recognised | None:
        """Give the waiting calls that match a registered pattern their place; returns that of `call_id`."""
        own, before = None, waiting.characters
        for other, facts in list(waiting.calls.items()):
            place = self._known(facts, "")
            if place is None:
                continue
            waiting.remove(other)
            if other == call_id:
                own = place
            else:
                self._settled.append(Assignment(other, *place))
        self._characters += waiting.characters - before
        return own
