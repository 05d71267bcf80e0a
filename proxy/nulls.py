"""The null guards: what a good mean hides.

A student that invents a value wherever the teacher leaves a field empty is wrong in every such case and still within
its limit when those are rare. So the cases are watched by themselves. Where the teacher does nothing (leaves a field
empty, says that it doesn't know, refuses, calls no tool), how often does the student do something instead? And the
other way round: how often does the student abstain, refuse, call no tool or answer invalidly where the teacher did
not? Each such slice has a Shiryaev–Roberts detector of its own (`guard`).

The i-th slice to appear alarms at i(i+1) times the level of one detector. As Σ 1/(i(i+1)) = 1, all of them together
give a false alarm within n sessions with probability at most n / level, however many fields a pattern has.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from ..traffic.actions import Action, Message, ToolCall, action_of, parameters
from ..traffic.tool_policy import ToolPolicy
from .guard import Guard
from .phrases import Phrases, every_language

MORE = "more:"
"""Prefix of the slices in which the student does less than the teacher."""
EMPTY, NO_TOOL, REFUSAL, UNSURE, INVALID = "empty", "no_tool", "refusal", "unsure", "invalid"
_NOTHING = frozenset(
    ("", "unknown", "n/a", "na", "none", "null", "nil", "unspecified", "not specified", "not provided", "-", "?")
)
_INVALID_REASONS = ("invalid", "fallback:student_invalid", "unparsable", "length", "fallback:student_empty")


class Nulls(msgspec.Struct, frozen=True, kw_only=True):
    """The detectors of all slices seen so far. `update` returns the next state."""

    missed: float = 0.2
    """Limit for the share of a slice's cases in which the student does something where the teacher does nothing."""
    excess: float = 0.02
    """Limit for the share of all sessions in which it does nothing where the teacher does something."""
    level: float = 1e4
    guards: dict[str, Guard] = {}
    """By slice."""

    @property
    def alarmed(self) -> str:
        """The slice that raised the alarm; empty: none."""
        return next((name for name, guard in self.guards.items() if guard.alarmed), "")

    def update(self, found: Mapping[str, float]) -> "Nulls":
        """The state after one more session: for each slice that it belongs to, the loss there (`watch`)."""
        if not found:
            return self
        guards = dict(self.guards)
        for name, loss in found.items():
            guard = guards.get(name) or self._new(name, len(guards) + 1)
            guards[name] = guard.update(loss)
        return replace(self, guards=guards)

    def _new(self, name: str, place: int) -> Guard:
        limit = self.excess if name.startswith(MORE) else self.missed
        return Guard(epsilon=limit, demote=self.level * place * (place + 1))

    def facts(self) -> dict[str, dict[str, Any]]:
        """The slices in which anything has gone wrong so far, for the log and the dashboard."""
        return {
            name: {"n": guard.n, "losses": guard.total, "limit": guard.epsilon, "m": guard.m, "demote": guard.demote}
            for name, guard in self.guards.items()
            if guard.total
        }


class Compared(NamedTuple):
    """One compared call, as far as it matters here."""

    teacher: Message
    student: Message | None
    """None: there was no answer."""
    tools: list[dict[str, Any]]
    reason: str = ""
    """The comparison's."""


def watch(calls: Sequence[Compared], policy: ToolPolicy, phrases: Phrases | None = None) -> dict[str, float]:
    """The slices that a session belongs to, each with its loss in [0, 1]: the mean over its calls in the slice. Without
    `phrases`, refusals and doubts are those of every known language."""
    found: dict[str, list[bool]] = defaultdict(list)
    for call in calls:
        for name, lost in _slices(call, policy, phrases or every_language()):
            found[name].append(lost)
    return {name: sum(lost) / len(lost) for name, lost in found.items()}


def _slices(call: Compared, policy: ToolPolicy, phrases: Phrases) -> Iterator[tuple[str, bool]]:
    theirs = action_of(call.teacher)
    if theirs.kind == "invalid":
        return
    invalid = call.reason.startswith(_INVALID_REASONS)
    yield MORE + INVALID, invalid
    if call.student is None or invalid:
        return
    ours = action_of(call.student)
    for kind in (NO_TOOL, REFUSAL, UNSURE):
        if kind == NO_TOOL and not call.tools:
            continue
        if _is(kind, theirs, phrases):
            yield kind, not _is(kind, ours, phrases)
        else:
            yield MORE + kind, _is(kind, ours, phrases)
    yield from _empty_fields(theirs.calls, ours.calls, parameters(call.tools), policy)


def _is(kind: str, action: Action, phrases: Phrases) -> bool:
    if kind == NO_TOOL:
        return not action.calls
    if kind == REFUSAL:
        return action.kind == "refusal" or (not action.calls and phrases.refuses(action.text))
    return not action.calls and phrases.doubts(action.text)


def _empty_fields(
    theirs: Sequence[ToolCall], ours: Sequence[ToolCall], schemas: Mapping[str, Any], policy: ToolPolicy
) -> Iterator[tuple[str, bool]]:
    """Each top-level parameter of the tools that both sides call: filled where the teacher leaves it empty, or not."""
    places: Counter[str] = Counter()
    by_tool: dict[str, list[ToolCall]] = defaultdict(list)
    for call in ours:
        by_tool[call.name].append(call)
    for call in theirs:
        place, others = places[call.name], by_tool[call.name]
        places[call.name] += 1
        if place >= len(others) or call.arguments is None or others[place].arguments is None:
            continue
        fields = (schemas.get(call.name) or {}).get("properties") or {}
        for name, schema in fields.items():
            if policy.of(call.name).compared_as(name) == "ignored":
                continue
            one, other = (_is_empty(side.arguments or {}, name, schema) for side in (call, others[place]))
            if one:
                yield f"{EMPTY}:{call.name}.{name}", not other
            else:
                yield MORE + EMPTY, other


def _is_empty(arguments: Mapping[str, Any], name: str, schema: Any) -> bool:
    value = arguments.get(name)
    if value is None or value == [] or value == {}:
        return True
    if isinstance(schema, dict) and "default" in schema and value == schema["default"]:
        return True
    return isinstance(value, str) and value.strip().lower() in _NOTHING
