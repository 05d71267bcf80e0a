"""Comparing a student's action with the teacher's: a loss in [0, 1] and the reason, decided at the first difference.

Typed and exact first: arguments are compared as values under their schema, never as cleaned-up strings ("1.5" is not
"15", "-5" is not "5"), and from both sides, so that an empty call does not match everything. Where nothing here can
tell whether two texts mean the same, the verdict is unsure, which counts as a loss until a judge or a person decides.
The rules in order, with their reasons: docs/comparison.md.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import schema
from .actions import Action, Message, ToolCall, action_of, parameters, validate_action
from .texts import compare_texts
from .tool_policy import ToolPolicy, ToolRule

COMPARATOR = 3
"""Version of these rules. A stored loss is worth only as much as the rules it was made with."""
UNSURE = "unsure"
DEFAULT_POLICY = ToolPolicy()


class Verdict(NamedTuple):
    """Outcome of one comparison."""

    loss: float
    """0: acceptable in the teacher's place; 1: not."""
    reason: str
    """`same`, or the first difference: `missing`, `invalid:<why>`, `teacher_invalid`, `kind:<theirs>/<ours>`, `tools`,
    `order`, `arguments:<tool>.<parameter>`, `json`, `urls`, `dates`, `times`, `ids`, `numbers`, `negation`, `unsure`,
    `unsure:<tool>.<parameter>` where nothing but a free text may differ."""
    comparator: int = COMPARATOR
    policy: str = ""
    """Digest of the tool policy; empty for the most cautious one."""

    @property
    def unsure(self) -> bool:
        """Whether a judge may decide otherwise."""
        return is_unsure(self.reason)


class Difference(NamedTuple):
    """One leaf of two calls' arguments, side by side."""

    path: str
    """`room`, `order.note`, `items[2].name`."""
    compared_as: str
    """`value`, `text` or `ignored`."""
    theirs: Any
    """MISSING where the side does not give it."""
    ours: Any
    why: str
    """Empty: no difference. `value`, `missing`, `extra`, or what `compare_texts` says."""


MISSING = object()
SAME = Verdict(0.0, "same")


def is_unsure(reason: str) -> bool:
    """Whether a reason says that the rules cannot tell."""
    return reason == UNSURE or reason.startswith(f"{UNSURE}:")


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
    loss, reason, *_ = _compare(teacher, student, tools, policy, finish)
    return Verdict(loss, reason, COMPARATOR, policy.digest)


def _compare(
    teacher: Message, student: Message | None, tools: list[dict[str, Any]] | None, policy: ToolPolicy, finish: str
) -> Verdict:
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
    writes = [[call.name for call in calls if not policy.reads(call.name)] for calls in (theirs, ours)]
    if writes[0] != writes[1]:
        return Verdict(1.0, "order")
    verdicts = [
        _compare_call(one, other, schemas.get(one.name), policy)
        for one, other in pair_calls(theirs, ours, schemas, policy)
        if one is not None and other is not None
    ]
    worst = max((verdict.loss for verdict in verdicts), default=0.0)
    definite = [verdict for verdict in verdicts if verdict.loss and not verdict.unsure]
    # Unsure only where nothing else differs, for a judge could turn that into a pass. Writes come first and `max` keeps
    # the first of equals: a write's difference is the reason reported.
    return max(definite or verdicts, key=lambda verdict: verdict.loss, default=SAME)._replace(loss=worst)


def pair_calls(
    theirs: tuple[ToolCall, ...], ours: tuple[ToolCall, ...], schemas: dict[str, Any], policy: ToolPolicy
) -> list[tuple[ToolCall | None, ToolCall | None]]:
    """Which calls belong together: writing ones of one name in their order, reading ones equal first. A call without a
    counterpart stands beside None."""
    names = list(dict.fromkeys(call.name for call in (*theirs, *ours)))
    pairs: list[tuple[ToolCall | None, ToolCall | None]] = []
    for name in sorted(names, key=policy.reads):
        one, other = ([call for call in calls if call.name == name] for calls in (theirs, ours))
        if policy.reads(name):
            one, other = _equal_first(one, other, schemas.get(name), policy)
        both = min(len(one), len(other))
        pairs += [*zip(one[:both], other[:both], strict=True), *((call, None) for call in one[both:])]
        pairs += ((None, call) for call in other[both:])
    return pairs


def _equal_first(
    theirs: list[ToolCall], ours: list[ToolCall], parameter_schema: Any, policy: ToolPolicy
) -> tuple[list[ToolCall], list[ToolCall]]:
    matched: list[tuple[ToolCall, ToolCall]] = []
    left, rest = [], list(ours)
    for call in theirs:
        match = next((c for c in rest if not _compare_call(call, c, parameter_schema, policy).loss), None)
        if match is None:
            left.append(call)
        else:
            rest.remove(match)
            matched.append((call, match))
    return [one for one, _ in matched] + left, [other for _, other in matched] + rest


def _compare_call(one: ToolCall, other: ToolCall, parameter_schema: Any, policy: ToolPolicy) -> Verdict:
    found = [leaf for leaf in differences(one, other, parameter_schema, policy.of(one.name)) if leaf.why]
    if not found:
        return SAME
    loss = policy.partial if policy.reads(one.name) else 1.0
    definite = next((leaf for leaf in found if leaf.why != UNSURE), None)
    if definite is None:
        return Verdict(loss, f"{UNSURE}:{one.name}.{found[0].path}")
    return Verdict(loss, f"arguments:{one.name}.{definite.path}")


def differences(
    one: ToolCall, other: ToolCall, parameter_schema: Any, rule: ToolRule, *, ignored: bool = False
) -> Iterator[Difference]:
    """The leaves of both calls' arguments in canonical form, in the order of their names. `ignored` ones only when
    asked for."""
    theirs = schema.canonical_arguments(one.arguments or {}, parameter_schema)
    ours = schema.canonical_arguments(other.arguments or {}, parameter_schema)
    for leaf in _leaves("", theirs, ours, rule):
        if ignored or leaf.compared_as != "ignored":
            yield leaf


def _leaves(path: str, theirs: Any, ours: Any, rule: ToolRule, depth: int = 0) -> Iterator[Difference]:
    how = rule.compared_as(path) if path else "value"
    deeper = how != "ignored" and depth < schema.MAX_DEPTH
    if deeper and isinstance(theirs, dict) and isinstance(ours, dict) and (theirs or ours):
        # Both sides are looked at: an argument that only one of them gives is a difference.
        for name in sorted(theirs.keys() | ours.keys()):
            inner = f"{path}.{name}" if path else name
            yield from _leaves(inner, theirs.get(name, MISSING), ours.get(name, MISSING), rule, depth + 1)
    elif deeper and isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours) and ours:
        for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from _leaves(f"{path}[{index}]", one, other, rule, depth + 1)
    elif path:
        yield Difference(path, how, theirs, ours, _why(theirs, ours, how))


def _why(theirs: Any, ours: Any, how: str) -> str:
    if how == "ignored":
        return ""
    if theirs is MISSING or ours is MISSING:
        return "extra" if theirs is MISSING else "missing"
    if how == "text" and isinstance(theirs, str) and isinstance(ours, str):
        return compare_texts(theirs, ours)
    return "" if schema.equal(theirs, ours) else "value"
