"""Changes of route on pages: what changed, why, who, and the evidence as it was at that moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .figures import moment
from .states import STATES

REASONS = {
    "student_registered": "a student version exists",
    "gate_crossed": "proven in shadow",
    "threshold_crossed": "a part that the student is sure of is proven",
    "threshold_loosened": "a larger part is proven",
    "noisy_teacher": "the teacher disagrees with itself: a relative trial",
    "noise_test_crossed": "proven against the teacher's second answers",
    "ramp": "the next share is safe",
    "carried_over": "clean in canary, proven in shadow",
    "canary_gate_crossed": "proven in canary",
    "futile": "proven too risky",
    "guard": "the guard raised the alarm",
    "invalid_output": "too many unusable answers",
    "guard_warns": "the guard warns: more is audited",
    "guard_calm": "the guard is calm again",
}


@dataclass(frozen=True)
class Change:
    """A row of `/tables/transitions`."""

    seq: int
    at: float
    pattern_id: str
    kind: str
    before: str
    after: str
    share: float | None
    """Of sessions served by the student, after the change."""
    reason: str
    actor: str
    student: str
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Fact:
    """One number of frozen evidence."""

    name: str
    value: str


@dataclass(frozen=True)
class ChangeView:
    """One change for people."""

    at: str
    pattern_id: str
    """Empty for the big switch."""
    pattern: str
    text: str
    tone: str
    """`good` towards the student, `bad` towards the teacher, or empty."""
    reason: str
    figures: str
    """The evidence in one line; empty without any."""
    actor: str
    student: str
    key: str
    facts: tuple[Fact, ...]


def change_of(row: Mapping[str, Any]) -> Change:
    """A row of the event log."""
    return Change(
        row["seq"],
        row["at"],
        row["pattern_id"],
        row["kind"],
        row["before"],
        row["after"],
        row.get("share"),
        row["reason"],
        row["actor"],
        row["student"],
        dict(row.get("evidence") or {}),
    )


def change_view(change: Change, names: Mapping[str, str]) -> ChangeView:
    """A change in words."""
    return ChangeView(
        at=moment(change.at),
        pattern_id=change.pattern_id,
        pattern=names.get(change.pattern_id, change.pattern_id or "everything"),
        text=_moved(change),
        tone=_tone(change),
        reason=_reason(change.reason),
        figures=figures_of(change.evidence, change.before),
        actor=change.actor,
        student=change.student,
        key=f"change-{change.seq}",
        facts=tuple(Fact(name, _value(value)) for name, value in _flat(change.evidence, "")),
    )


def _reason(code: str) -> str:
    """In words. A code may have a part of its own after a colon: what alarmed."""
    if code.startswith("tightened:"):
        return f"back to the stricter threshold at once: {_reason(code.removeprefix('tightened:'))}"
    return REASONS.get(code, code.replace("_", " "))


def _moved(change: Change) -> str:
    share = f" {change.share:.0%}" if change.share and change.after == "canary" else ""
    return f"{change.before} → {change.after}{share}"


def _tone(change: Change) -> str:
    if change.after in ("blocked", "quarantined", "off"):
        return "bad"
    order = {name: place for place, name in enumerate((*STATES[:4], "on"))}
    rises = order.get(change.after, 0) > order.get(change.before, 0) or change.reason == "ramp"
    return "good" if rises else ""


def figures_of(evidence: Mapping[str, Any], state: str) -> str:
    """Risk with interval and n of the evidence that counted in a state."""
    for name in ({"live": "guard"}.get(state, state), "guard", "shadow"):
        facts = evidence.get(name)
        if isinstance(facts, dict) and facts.get("n"):
            low, high = facts["interval"]
            return f"risk {facts['risk']:.3f} [{low:.3f}, {high:.3f}], n = {facts['n']:,}"
    return ""


def _flat(values: Mapping[str, Any], before: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{before}{name}.") if isinstance(value, dict) else [(before + name, value)]
    return found


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(part) for part in value) + "]"
    return "–" if value is None else str(value)
