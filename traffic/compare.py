"""Comparing a student's action with the teacher's: a loss in [0, 1] and the reason, decided at the first difference.

Typed and exact first: arguments are compared as values under their schema, never as cleaned-up strings ("1.5" is not
"15", "-5" is not "5"), and from both sides, so that an empty call does not match everything. Where nothing here can
tell whether two texts mean the same, the verdict is `unsure`, which counts as a loss until a judge decides it.
The rules in order, with their reasons: docs/guarantees.md, "Comparing two actions".
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, NamedTuple

from . import schema
from .actions import Action, Message, ToolCall, action_of, parameters, validate_action
from .texts import compare_texts

COMPARATOR = 1
"""Version of these rules. A stored loss is worth only as much as the rules it was made with."""


@dataclass(frozen=True)
class ToolPolicy:
    """What is known about tools beyond their schemas. Parameters are named `tool.parameter`, or just `parameter`."""

    read_only: frozenset[str] = frozenset()
    """Tools that change nothing. All others count as writing: an order or an argument that differs is a full loss."""
    free_text: frozenset[str] = frozenset()
    """Parameters for people to read: compared as texts, not as values."""
    ignored: frozenset[str] = frozenset()
    """Parameters that mean nothing for the task, such as trace ids."""
    partial: float = 0.5
    """Loss for a read-only call with other arguments, in [0, 1]."""

    def covers(self, names: frozenset[str], tool: str, parameter: str) -> bool:
        """Whether `names` holds this parameter."""
        return parameter in names or f"{tool}.{parameter}" in names


class Verdict(NamedTuple):
    """Outcome of one comparison."""

    loss: float
    """0: acceptable in the teacher's place; 1: not."""
    reason: str
    """`same`, or the first difference: `missing`, `invalid:<why>`, `teacher_invalid`, `kind:<theirs>/<ours>`, `tools`,
    `order`, `arguments:<tool>.<parameter>`, `numbers`, `dates`, `ids`, `urls`, `negation`, `json`, `unsure`."""
    comparator: int = COMPARATOR


DEFAULT_POLICY = ToolPolicy()
SAME = Verdict(0.0, "same")


def compare(
    teacher: Message,
    student: Message | None,
    tools: list[dict[str, Any]] | None,
    policy: ToolPolicy = DEFAULT_POLICY,
    *,
    finish: str = "stop",
) -> Verdict:
    """How far the student's message is from being acceptable in place of the teacher's.

    `finish` is the student's finish reason: an answer that was cut off is a loss whatever it says.
    """
    theirs = action_of(teacher)
    if student is None:
        return Verdict(1.0, "missing")
    ours = action_of(student)
    if why := _unusable(ours, tools, finish):
        return Verdict(1.0, f"invalid:{why}")
    if theirs.kind == "invalid" or any(call.arguments is None for call in theirs.calls):
        return Verdict(1.0, "teacher_invalid")
    if theirs.kind != ours.kind:
        return Verdict(1.0, f"kind:{theirs.kind}/{ours.kind}")
    if ours.kind == "tools":
        return _compare_calls(theirs.calls, ours.calls, parameters(tools), policy)
    why = compare_texts(theirs.text, ours.text)
    return Verdict(1.0, why) if why else SAME


def _unusable(action: Action, tools: list[dict[str, Any]] | None, finish: str) -> str:
    if finish in ("length", "content_filter"):
        return finish
    if action.kind == "refusal":
        return "refusal"
    return validate_action(action, tools)


def _compare_calls(
    theirs: tuple[ToolCall, ...], ours: tuple[ToolCall, ...], schemas: dict[str, Any], policy: ToolPolicy
) -> Verdict:
    if Counter(call.name for call in theirs) != Counter(call.name for call in ours):
        return Verdict(1.0, "tools")
    writes = [[call for call in calls if call.name not in policy.read_only] for calls in (theirs, ours)]
    if [call.name for call in writes[0]] != [call.name for call in writes[1]]:
        return Verdict(1.0, "order")
    pairs = list(zip(*writes, strict=True))
    for name in sorted({call.name for call in theirs} & policy.read_only):
        pairs += _pair_up([c for c in theirs if c.name == name], [c for c in ours if c.name == name], schemas, policy)
    verdicts = [_compare_call(one, other, schemas.get(one.name), policy) for one, other in pairs]
    # Reads come last in `verdicts` and `max` keeps the first of equals: a write's difference is the reason reported.
    return max(verdicts, key=lambda verdict: verdict.loss, default=SAME)


def _pair_up(
    theirs: list[ToolCall], ours: list[ToolCall], schemas: dict[str, Any], policy: ToolPolicy
) -> list[tuple[ToolCall, ToolCall]]:
    """Pairs of calls of one read-only tool: equal ones first, the others in their order."""
    pairs, left, rest = [], [], list(ours)
    for call in theirs:
        match = next((c for c in rest if not _compare_call(call, c, schemas.get(call.name), policy).loss), None)
        if match is None:
            left.append(call)
        else:
            rest.remove(match)
            pairs.append((call, match))
    return pairs + list(zip(left, rest, strict=True))


def _compare_call(one: ToolCall, other: ToolCall, parameter_schema: Any, policy: ToolPolicy) -> Verdict:
    theirs = schema.canonical_arguments(one.arguments or {}, parameter_schema)
    ours = schema.canonical_arguments(other.arguments or {}, parameter_schema)
    for name in sorted(theirs.keys() | ours.keys()):
        if policy.covers(policy.ignored, one.name, name):
            continue
        if not _same_argument(theirs, ours, name, policy.covers(policy.free_text, one.name, name)):
            loss = policy.partial if one.name in policy.read_only else 1.0
            return Verdict(loss, f"arguments:{one.name}.{name}")
    return SAME


def _same_argument(theirs: dict[str, Any], ours: dict[str, Any], name: str, free_text: bool) -> bool:
    # Both sides are looked at: an argument that only one of them gives is a difference.
    if name not in theirs or name not in ours:
        return False
    one, other = theirs[name], ours[name]
    if free_text and isinstance(one, str) and isinstance(other, str):
        return not compare_texts(one, other)
    return schema.equal(one, other)
