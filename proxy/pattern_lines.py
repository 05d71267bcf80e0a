"""One line of figures per pattern: what the page of patterns shows and `/tables/patterns` gives."""

from dataclasses import dataclass
from typing import NamedTuple

from ..traffic import queries
from ..traffic.errors import BadInput
from ..traffic.opportunities import Opportunity, opportunities
from .explain import explain
from .ledger import Ledger, Line, total
from .savings import PatternLine as Net
from .views import DAY_S, Site
from .views_changes import REASONS
from .views_queries import Pulse, last_transitions, pulses

STEP_S, STEPS = 1_800.0, 48
"""Of the sparklines: one day."""
LOOK_DAYS = 30.0
OPPORTUNITIES_S = 900.0
"""How often it is looked again what teaching would save: it reads hundreds of runs."""
ORDERS = ("calls", "name", "state", "risk", "saved", "would_save", "changed")


@dataclass(frozen=True)
class PatternLine:
    """A row of `/tables/patterns`."""

    pattern_id: str
    name: str
    role: str
    version: int
    agent_id: str
    calls: int
    sessions: int
    teacher_calls: int
    student_calls: int
    fallback_calls: int
    last_at: float | None
    state: str
    share: float
    """Of sessions that the student serves."""
    student: str
    n: int
    """Sessions in the evidence that counts in this state."""
    risk: float | None
    low: float
    high: float
    limit: float | None
    progress: float | None
    """Log-wealth over the log-wealth that is proof, in [0, 1]."""
    missing: str
    """What the next step needs."""
    teacher_ms: float | None
    """Median latency of the last day."""
    student_ms: float | None
    teacher_cost: float | None
    """Dollars a call; None: unknown."""
    dollars_saved: float | None
    """After all costs; None: unknown."""
    tokens_saved: float
    """Of the teacher, avoided; audits not taken off."""
    would_save: float | None
    """Dollars a month that teaching it would save, lower end; None: unknown or not looked at yet."""
    would_save_high: float | None
    repetitive: float | None
    """Share of its calls that a table predicts; None: not looked at yet."""
    repetitive_low: float | None
    repetitive_high: float | None
    repetitive_n: int
    changed_at: float | None
    change: str


def pattern_lines(site: Site, order: str = "calls") -> list[PatternLine]:
    """All patterns, ordered. Raises BadInput for an order that there is not."""
    if order not in ORDERS:
        raise BadInput(f"Patterns are ordered by {', '.join(ORDERS)}, not {order!r}.")
    now = site.clock()
    paid = _paid(site.ledger(0.0))
    nets = {one.pattern_id: one for one in site.balance(0.0).patterns}
    known = pattern_pulses(site)
    changes = site.memo.get("last transitions", lambda: last_transitions(site.store))
    chances = site.memo.later("opportunities", lambda: _opportunities(site, now), OPPORTUNITIES_S) or {}
    lines = []
    for row in site.patterns():
        change = changes.get(row.pattern_id)
        why = REASONS.get(change["reason"], change["reason"]) if change else ""
        told = (change["at"], f"{change['before']} → {change['after']}: {why}") if change else (None, "")
        costs = Costs(paid.get(row.pattern_id), nets.get(row.pattern_id))
        lines.append(_pattern_line(site, row, costs, known.get(row.pattern_id), chances.get(row.pattern_id), told))
    keys = {
        "calls": lambda line: -line.calls,
        "name": lambda line: (line.name, line.role),
        "state": lambda line: (line.state, -line.calls),
        "risk": lambda line: (line.risk is None, -(line.risk or 0.0)),
        "saved": lambda line: -(line.dollars_saved or 0.0),
        "would_save": lambda line: -(line.would_save or 0.0),
        "changed": lambda line: -(line.changed_at or 0.0),
    }
    return sorted(lines, key=keys[order])


class Costs(NamedTuple):
    """One pattern's money."""

    a_call: float | None
    """Of the teacher, in dollars; None: unknown."""
    net: Net | None
    """What its students have brought; None: there were none."""


def _paid(book: Ledger) -> dict[str, float | None]:
    """Dollars for a call of the teacher, by pattern."""
    lines: dict[str, list[Line]] = {}
    for line in book.lines:
        if line.route == "teacher":
            lines.setdefault(line.pattern_id, []).append(line)
    spent = {pattern: total(line.dollars for line in own) for pattern, own in lines.items()}
    calls = {pattern: sum(line.calls for line in own) for pattern, own in lines.items()}
    return {
        pattern: dollars / calls[pattern] if dollars is not None and calls[pattern] else None
        for pattern, dollars in spent.items()
    }


def pattern_pulses(site: Site) -> dict[str, Pulse]:
    """Each pattern's last day."""
    start = (site.clock() // STEP_S - STEPS + 1) * STEP_S
    return site.memo.get(("pulses", start), lambda: pulses(site.store, start, STEP_S, STEPS), 5.0)


def _opportunities(site: Site, now: float) -> dict[str, Opportunity]:
    registry = site.admin.registry
    used = [one for one in registry.entries() if registry.edits.replaced_by(one.agent_id) is None]
    found = opportunities(site.store, used, site.admin.cost, now - LOOK_DAYS * DAY_S, now)
    return {one.pattern_id: one for one in found}


def _pattern_line(
    site: Site,
    row: queries.PatternSummary,
    costs: Costs,
    pulse: Pulse | None,
    chance: Opportunity | None,
    change: tuple[float | None, str],
) -> PatternLine:
    state = site.board.state(row.pattern_id)
    facts = explain(state)
    low, high = facts["interval"] or (0.0, 1.0)
    gate = facts.get(state.state) or {}
    dollars = chance.dollars_saved if chance else None
    return PatternLine(
        pattern_id=row.pattern_id,
        name=row.name,
        role=row.role,
        version=row.version,
        agent_id=row.agent_id,
        calls=row.calls,
        sessions=row.sessions,
        teacher_calls=row.teacher_calls,
        student_calls=row.student_calls,
        fallback_calls=row.fallback_calls,
        last_at=row.last_at,
        state=state.state,
        share=facts["serve"],
        student=state.student,
        n=facts["n"],
        risk=facts["risk"],
        low=low,
        high=high,
        limit=state.epsilon if state.student else None,
        progress=min(max(gate["log_wealth"] / gate["log_needed"], 0.0), 1.0) if "log_needed" in gate else None,
        missing=facts["next"],
        teacher_ms=pulse.teacher_ms if pulse else None,
        student_ms=pulse.student_ms if pulse else None,
        teacher_cost=costs.a_call,
        dollars_saved=costs.net.net if costs.net else 0.0,
        tokens_saved=costs.net.tokens_avoided if costs.net else 0.0,
        would_save=dollars.low if dollars else None,
        would_save_high=dollars.high if dollars else None,
        repetitive=chance.repetitive.share if chance else None,
        repetitive_low=chance.repetitive.low if chance else None,
        repetitive_high=chance.repetitive.high if chance else None,
        repetitive_n=chance.repetitive.n if chance else 0,
        changed_at=change[0],
        change=change[1],
    )
