"""From what a person asks for to an edit of the patterns: names resolved, mistakes refused, ids and versions given.

Planning reads the registry and the store and changes neither. A plan that comes back can be carried out as it is.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .conversations import requests_of
from .errors import BadInput, UnknownName
from .facts import Facts, facts_of
from .newest import newest
from .pattern_edits import BY, Edit, Merge, Part, Rename, Split, Undo, merged_agent, split_agent
from .patterns import PatternEntry, Registry
from .skeleton import mask
from .store import Store

SAMPLE = 500
"""Newest calls that are looked at for facts that differ."""
_NAME = re.compile(r"(?![pa]_[0-9a-f]{10}$)(?!all$)[^\W_][\w.+@-]{0,63}")


def rename(registry: Registry, pattern: str, name: str) -> Rename:
    """Give all versions of a pattern's name another one. Raises UnknownName or BadInput."""
    family = _family(registry, agent_named(registry, pattern, in_use=False))
    if registry.edits.shown(family) == name:
        raise BadInput(f"{pattern} is called {name!r} already.")
    _check_name(registry, name, own=family)
    return Rename(family, name)


def merge(registry: Registry, patterns: Sequence[str]) -> Merge:
    """Make one agent of several; the first gives the name. Raises UnknownName or BadInput."""
    agents = tuple(dict.fromkeys(agent_named(registry, pattern) for pattern in patterns))
    if len(agents) < 2:
        raise BadInput(
            f"A merge needs two agents at least, but {', '.join(patterns)} are one: its user turns and its tool turns "
            "belong together already."
        )
    family = _family(registry, agents[0])
    return Merge(agents, merged_agent(agents), family, registry.next_version(family))


def split(registry: Registry, store: Store, pattern: str, by: str, value: str, name: str = "") -> Split:
    """Make two agents of one, by a fact that differs between its calls. Raises UnknownName or BadInput.

    `name` is for the part that has the fact; without it both parts keep the name as two new versions.
    """
    if by not in BY:
        raise BadInput(f"Patterns are split by {', '.join(BY)}, not by {by!r}.")
    agent = agent_named(registry, pattern)
    value = _differing_value(differences(registry, store, agent), pattern, by, value)
    family = _family(registry, agent)
    version = registry.next_version(family)
    if name:
        _check_name(registry, name, own="")
    having = Part(split_agent(agent, by, value, True), name or family, 1 if name else version + 1)
    return Split(agent, by, value, having, Part(split_agent(agent, by, value, False), family, version))


def undo(registry: Registry) -> Undo:
    """Take back the newest edit in force. Raises BadInput when there is none."""
    edits = registry.edits.events
    if not edits:
        raise BadInput("There is no edit to undo. See: tutelage patterns history")
    return Undo(edits[-1].seq)


def agents_left(registry: Registry, change: Edit | Undo) -> tuple[str, ...]:
    """The agents whose calls go elsewhere once this is carried out."""
    if isinstance(change, Merge):
        return change.sources
    if isinstance(change, Split):
        return (change.source,)
    undone = (event.change for event in registry.edits.events if isinstance(change, Undo) and event.seq == change.seq)
    edit = next(undone, None)
    if isinstance(edit, Merge):
        return (edit.agent_id,)
    return (edit.having.agent_id, edit.lacking.agent_id) if isinstance(edit, Split) else ()


class Difference(NamedTuple):
    """A fact that some of an agent's calls have and others have not."""

    by: str
    value: str
    calls: int
    """Calls that have it."""
    of: int
    """Calls that were looked at."""


def differences(registry: Registry, store: Store, agent_id: str) -> list[Difference]:
    """What an agent could be split by, the most even first, as its newest calls show it."""
    facts = _sample(registry, store, agent_id)
    counts = {
        "role": Counter(one.role for one in facts),
        "tools": Counter(one.tools for one in facts),
        "line": Counter(line for one in facts for line in set(one.lines) if line.strip()),
        "model": Counter(one.model for one in facts),
    }
    found = [
        Difference(by, value, calls, len(facts))
        for by, values in counts.items()
        for value, calls in values.items()
        if calls < len(facts)
    ]
    return sorted(found, key=lambda one: (abs(2 * one.calls - one.of), BY.index(one.by), one.value))


def _differing_value(found: list[Difference], pattern: str, by: str, value: str) -> str:
    own = [one for one in found if one.by == by]
    wanted = mask(value)[0] if by == "line" else value
    for one in own:
        if one.value == wanted:
            return wanted
    begun = [one.value for one in own if by == "tools" and len(value) >= 6 and one.value.startswith(value)]
    if len(begun) == 1:
        return begun[0]
    shown = "; ".join(f"{one.value[:80]!r} ({one.calls} of {one.of} calls)" for one in own[:5])
    raise BadInput(
        f"The calls of {pattern} do not differ in {by} {value!r}. "
        + (f"They differ in: {shown}." if own else f"They do not differ in any {by}.")
        + f" See all that they differ in with: tutelage patterns split {pattern}"
    )


def _sample(registry: Registry, store: Store, agent_id: str) -> list[Facts]:
    """Facts of the newest calls that belong to the agent now, whatever agent they were stored under."""
    stored = {entry.agent_id for entry in _lineage(registry, agent_id)} | {agent_id}
    sql = """
        SELECT call_id, hint FROM calls WHERE list_contains(?, agent_id) AND request_tail IS NOT NULL
            AND started_at >= ? ORDER BY started_at DESC LIMIT ?
    """
    found_in = "SELECT pattern_id FROM patterns WHERE list_contains(?, agent_id)"
    patterns = [name for (name,) in store.rows(found_in, [sorted(stored)])]
    rows = newest(store, SAMPLE, lambda since: store.rows(sql, [sorted(stored), since, SAMPLE]), patterns)
    hints = {str(call_id): hint or "" for call_id, hint in rows}
    requests = requests_of(store, list(hints))
    found = []
    for call_id, hint in hints.items():
        facts = facts_of(requests.get(call_id))
        match = registry.identify(facts, hint) if facts else None
        if facts and match and match.agent_id == agent_id:
            found.append(facts)
    return found


def _lineage(registry: Registry, agent_id: str) -> Iterable[PatternEntry]:
    """The found patterns whose calls may come to an agent."""
    members = {one for entry in registry.entries() if entry.agent_id == agent_id for one in entry.made_of}
    # Calls that came by way of agents that are out of use now were stored under those.
    made = [entry for entry in registry.entries() if members & set(entry.made_of)]
    return [*(entry for entry in registry.found() if entry.pattern_id in members), *made]


def agent_named(registry: Registry, text: str, in_use: bool = True) -> str:
    """The agent of an agent id, a pattern id or a name, by default of those in use. Raises UnknownName or BadInput."""
    entries = registry.entries()
    agents = list(dict.fromkeys(one.agent_id for one in entries if text in (one.agent_id, one.pattern_id, one.name)))
    if not agents:
        raise UnknownName(f"There is no agent or pattern {text!r}. List them with: tutelage patterns list")
    if not in_use:
        return agents[-1]
    using = [agent for agent in agents if registry.edits.replaced_by(agent) is None]
    if not using:
        seq, after = registry.edits.replaced_by(agents[-1]) or (0, ())
        raise BadInput(f"{text} is out of use since edit {seq}; its calls go to {' and '.join(after)}. Name that.")
    if len(using) > 1:
        raise BadInput(f"Several agents are called {text!r}. Give one of their ids: {', '.join(using)}.")
    return using[0]


def _family(registry: Registry, agent_id: str) -> str:
    made = registry.edits.made.get(agent_id)
    return made.family if made else next(one.name for one in registry.found() if one.agent_id == agent_id)


def _check_name(registry: Registry, name: str, own: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} is no name for a pattern. Expected 1 to 64 letters, digits and . + - _ @, beginning with a "
            "letter or digit, and neither an id nor 'all'."
        )
    # Its own first name is free to return to.
    if name != own and name in registry.taken_names():
        raise BadInput(f"Another pattern is called {name!r}. Take another name, or merge the two.")
