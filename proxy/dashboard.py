"""The dashboard: one page of words and numbers, laid out by two templates.

`Page` is the whole payload. Everything is formatted here, so the templates hold no arithmetic; a test compares the
fields below with the names that the templates use. A share or a risk never stands without its n and its interval.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from ..traffic import queries
from .chart import Chart, chart_of, clock, count, money, size
from .overview import LedgerSummary, Overview, PatternRow, RouteRow, RunRow, Status

MINUTES = 60
"""Span of the traffic chart."""


@dataclass(frozen=True)
class Notice:
    """Something that somebody should look at."""

    tone: str
    """`warn` or `bad`."""
    text: str


@dataclass(frozen=True)
class Tile:
    """One big number."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class RiskBar:
    """The interval of a risk as a line, in hundredths of the drawn width; its scale ends at four times the limit."""

    low: float
    high: float
    point: float
    limit: float
    tone: str
    """`good`: wholly below the limit; `bad`: wholly above; empty: undecided."""


@dataclass(frozen=True)
class PatternView:
    """One row of the patterns table."""

    pattern_id: str
    name: str
    about: str
    state: str
    state_text: str
    student: str
    risk: str
    interval: str
    risk_bar: RiskBar | None
    progress: int | None
    """Per cent of the proof, on the scale of log-wealth."""
    missing: str
    calls: str
    calls_by_route: str
    tokens: str
    tokens_saved: str
    money: str
    money_saved: str
    is_off: bool


@dataclass(frozen=True)
class EventView:
    """One transition."""

    at: str
    pattern: str
    text: str
    detail: str


@dataclass(frozen=True)
class RunView:
    """One distillation run."""

    name: str
    stage: str
    tone: str
    """`running`, `done` or `failed`."""
    percent: int | None
    detail: str


@dataclass(frozen=True)
class HealthItem:
    """One line of the health list."""

    name: str
    value: str
    tone: str
    """`good`, `warn`, `bad` or empty."""


@dataclass(frozen=True)
class Page:
    """Everything on the page."""

    agents_url: str
    teacher_url: str
    off: bool
    notices: tuple[Notice, ...]
    tiles: tuple[Tile, ...]
    chart: Chart
    patterns: tuple[PatternView, ...]
    transitions: tuple[EventView, ...]
    runs: tuple[RunView, ...]
    health: tuple[HealthItem, ...]
    as_of: str


_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, page: Page) -> str:
    """`page.html` for the whole page, `fragment.html` for what is replaced when it refreshes."""
    return _templates.get_template(template).render(page=page)


def build(overview: Overview, now: float) -> Page:
    """The page as of now (Unix seconds)."""
    status, patterns = overview.status(), overview.patterns()
    start = now // 60 * 60 - 60 * (MINUTES - 1)
    points = queries.traffic_by_minute(overview.store, start)
    names = {row.pattern_id: _name(row) for row in patterns}
    return Page(
        agents_url=status.data_plane_url,
        teacher_url=status.teacher_url or "not set",
        off=status.off,
        notices=_notices(status),
        tiles=_tiles(status, points),
        chart=chart_of(points, start, MINUTES),
        patterns=tuple(_pattern(row) for row in patterns),
        transitions=tuple(_event(change, names, now) for change in overview.board.log.transitions(12)),
        runs=tuple(_run(row) for row in overview.runs(5)),
        health=_health(status, now),
        as_of=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now)),
    )


def _notices(status: Status) -> tuple[Notice, ...]:
    off = [Notice("bad", f"Everything goes to the teacher. {status.off_reason}".strip())] if status.off else []
    return (*off, *(Notice("warn", problem) for problem in status.problems))


def _tiles(status: Status, points: Sequence[queries.TrafficPoint]) -> tuple[Tile, ...]:
    book = status.ledger
    hour = {route: sum(p.calls for p in points if p.route == route) for route in ("teacher", "student", "none")}
    answered = hour["teacher"] + hour["student"]
    share = f"{hour['student'] / answered:.0%}" if answered else "–"
    stored = status.store
    return (
        Tile("Calls in the last hour", count(sum(hour.values())), f"{count(stored.calls)} stored"),
        Tile("Answered by a student", share, f"{count(hour['student'])} of {count(answered)} in the last hour"),
        Tile("Teacher tokens saved", count(book.tokens_saved), "estimate, net of audits"),
        Tile("Money saved", money(book.dollars_saved), _money_note(book)),
    )


def _money_note(book: LedgerSummary) -> str:
    if book.dollars_saved is not None and book.dollars_spent is not None:
        return f"{money(book.dollars_spent)} spent on the teacher"
    return f"no price for {', '.join(book.unpriced[:2]) or 'the models'}"


def _name(row: PatternRow) -> str:
    return f"{row.name} · {row.role or 'any'} turns"


def _pattern(row: PatternRow) -> PatternView:
    route = row.route
    share = f" {route.share:.0%}" if route.state == "canary" else ""
    tokens = row.prompt_tokens + row.completion_tokens
    return PatternView(
        pattern_id=row.pattern_id,
        name=row.name,
        about=f"{row.role or 'any'} turns · version {row.version} · {count(row.sessions)} sessions",
        state=route.state,
        state_text=route.state + share,
        student=route.student or "no student yet",
        risk=f"{route.risk:.3f}" if route.risk is not None else "–",
        interval=_interval(route),
        risk_bar=_risk_bar(route),
        progress=None if route.progress is None else round(100 * route.progress),
        missing=route.missing,
        calls=count(row.calls),
        calls_by_route=_by_route(row),
        tokens=count(tokens),
        tokens_saved=f"{count(row.tokens_saved)} saved" if row.student_calls or row.audits else "",
        money=money(row.dollars_spent),
        money_saved=f"{money(row.dollars_saved)} saved" if row.student_calls or row.audits else "",
        is_off=route.state == "off",
    )


def _by_route(row: PatternRow) -> str:
    parts = [f"{count(row.teacher_calls)} teacher", f"{count(row.student_calls)} student"]
    if row.fallback_calls:
        parts.append(f"{count(row.fallback_calls)} fell back")
    return " · ".join(parts)


def _interval(route: RouteRow) -> str:
    if route.limit is None:
        return "no evidence: n = 0"
    return f"{route.low:.3f} to {route.high:.3f} · n = {route.sessions} · limit {route.limit:g}"


def _risk_bar(route: RouteRow) -> RiskBar | None:
    if route.limit is None or not route.sessions or route.risk is None:
        return None
    scale = 100 / min(1.0, 4 * route.limit)
    low, high, point = (round(min(value * scale, 100.0), 1) for value in (route.low, route.high, route.risk))
    tone = "good" if route.high < route.limit else "bad" if route.low > route.limit else ""
    return RiskBar(low, high, point, round(route.limit * scale, 1), tone)


def _event(change: dict[str, Any], names: dict[str, str], now: float) -> EventView:
    share = change.get("share")
    after = change["after"] + (f" {share:.0%}" if share and change["after"] == "canary" else "")
    facts = [change["reason"].replace("_", " "), _figures(change), "" if change["actor"] == "gate" else change["actor"]]
    return EventView(
        at=clock(change["at"], now),
        pattern=names.get(change["pattern_id"], "everything"),
        text=f"{change['before']} → {after}",
        detail=" · ".join(fact for fact in facts if fact),
    )


def _figures(change: dict[str, Any]) -> str:
    """The evidence of a transition in a few figures."""
    evidence = change.get("evidence") or {}
    for name in (change["before"], "guard", "shadow"):
        facts = evidence.get("guard" if name == "live" else name)
        if facts and facts.get("n"):
            low, high = facts["interval"]
            return f"risk {facts['risk']:.3f} [{low:.3f}, {high:.3f}], n = {facts['n']}"
    return ""


def _run(row: RunRow) -> RunView:
    tone = {"finished": "done", "failed": "failed"}.get(row.stage, "running")
    loss = f"loss {row.loss:.3f}" if row.loss is not None else ""
    detail = " · ".join(part for part in (row.message, loss) if part)
    return RunView(row.run_id, row.stage, tone, round(100 * row.fraction) if tone == "running" else None, detail)


def _health(status: Status, now: float) -> tuple[HealthItem, ...]:
    keeper = status.keeper
    backlog = keeper.backlog_bytes
    last = f"{now - keeper.last_call_at:.0f} s ago" if keeper.last_call_at else "none since the start"
    items = [
        HealthItem("Ingest", keeper.error or "working", "bad" if keeper.error else "good"),
        HealthItem("Waiting in the journal", size(backlog), "warn" if backlog > 64 << 20 else ""),
        HealthItem("Last calls stored", last, ""),
        HealthItem("Journal bytes damaged", size(keeper.damaged_bytes), "bad" if keeper.damaged_bytes else ""),
        HealthItem("Store", f"{size(status.store.bytes)}, {count(status.store.messages)} messages", ""),
        HealthItem("Sessions waiting for labels", count(status.pending_sessions), ""),
    ]
    for runner in status.runners:
        items.append(
            HealthItem(
                f"{runner.kind.capitalize()} labels",
                "waiting" if runner.problem else f"{count(runner.done)} since the start",
                "warn" if runner.problem else "",
            )
        )
    return tuple(items)
