"""The first page: who answers, what it saves, how risky it is, and whether all parts are well."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..traffic import queries
from ..traffic.errors import BadInput
from .chart import SPANS, Chart, chart_of
from .explain import explain
from .figures import Measured, ago, count, measured, millis, moment, money, of, size
from .gate import confidence_sequence
from .ledger import total
from .savings import Balance
from .states import SERVING
from .views import DAY_S, Site
from .views_changes import ChangeView, change_of, change_view
from .views_queries import RouteTimes, route_times

MONTH_S = 30 * DAY_S


@dataclass(frozen=True)
class Tile:
    """One big number."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Choice:
    """One of the spans of time, or of the scales, that the chart can show."""

    label: str
    href: str
    chosen: bool


@dataclass(frozen=True)
class RouteLine:
    """One route in the table of latencies."""

    route: str
    calls: str
    first_p50: str
    first_p95: str
    whole_p50: str
    whole_p95: str
    failed: str
    fallbacks: str


@dataclass(frozen=True)
class HealthItem:
    """One line of the health list."""

    name: str
    value: str
    tone: str
    """`good`, `warn`, `bad` or empty."""


@dataclass(frozen=True)
class OverviewPage:
    """Everything on the page."""

    span: str
    query: str
    """Parameters of the tables behind the page."""
    spans: tuple[Choice, ...]
    scales: tuple[Choice, ...]
    chart: Chart
    chart_text: str
    """The chart in words."""
    tiles: tuple[Tile, ...]
    risk: Measured
    risk_note: str
    routes: tuple[RouteLine, ...]
    transitions: tuple[ChangeView, ...]
    trained: str
    promoted: str
    health: tuple[HealthItem, ...]


def overview_page(site: Site, span: str = "1h", scale: str = "calls") -> OverviewPage:
    """The page as of now. Raises BadInput for a span or a scale that there is not."""
    if span not in SPANS or scale not in ("calls", "share"):
        raise BadInput(f"Expected span {', '.join(SPANS)} and scale calls or share, not {span!r} and {scale!r}.")
    now = site.clock()
    points = traffic(site, span)
    names = site.names()
    changes = [change_of(row) for row in site.board.log.transitions(60)]
    risk, patterns = served_risk(site)
    serving = "pattern" if patterns == 1 else "patterns"
    return OverviewPage(
        span=SPANS[span].label,
        query=f"span={span}",
        spans=tuple(Choice(SPANS[one].label, f"/?span={one}&scale={scale}", one == span) for one in SPANS),
        scales=tuple(Choice(one, f"/?span={span}&scale={one}", one == scale) for one in ("calls", "share")),
        chart=chart_of(points, SPANS[span], now, scale == "share"),
        chart_text=_in_words(points, SPANS[span].label),
        tiles=_tiles(site, points, now, SPANS[span].label),
        risk=risk,
        risk_note=f"{patterns} {serving} served by students" if patterns else "no student serves anything",
        routes=tuple(_line(row) for row in times(site, span)),
        transitions=tuple(change_view(change, names) for change in changes[:8]),
        trained=_trained(site, now),
        promoted=next((moment(one.at) for one in changes if one.after in SERVING and one.kind != "audit"), "never"),
        health=health(site, now),
    )


def traffic(site: Site, span: str) -> list[queries.TrafficPoint]:
    """Calls by route in the steps of a span."""
    chosen, now = SPANS[span], site.clock()
    start = chosen.start(now)
    key = ("traffic", span, start)
    return site.memo.get(key, lambda: queries.traffic_by_minute(site.store, start, bucket_s=chosen.step_s))


def times(site: Site, span: str) -> list[RouteTimes]:
    """Latencies by route in a span, but of one day at most."""
    start = max(SPANS[span].start(site.clock()), site.clock() // 3_600 * 3_600 - DAY_S)
    return site.memo.get(("times", span, start), lambda: route_times(site.store, start))


def served_risk(site: Site) -> tuple[Measured, int]:
    """Risk of what students serve now, over all patterns, and how many these are.

    Each pattern's risk counts by the student's calls. The interval joins the patterns' own, each at its share of α
    (Bonferroni), so it holds at every look as theirs do.
    """
    calls = {row.pattern_id: row.student_calls for row in site.patterns()}
    states = [(one, site.board.state(one)) for one in site.board.patterns()]
    serving = [(one, state) for one, state in states if state.state in SERVING]
    total = sum(calls.get(one, 0) + 1 for one, _ in serving)
    low = high = risk = seen = 0.0
    sessions = 0
    for one, state in serving:
        facts, weight = explain(state), (calls.get(one, 0) + 1) / total
        n, losses = facts["n"], facts["losses"] or 0.0
        ends = confidence_sequence(losses, n - losses, state.options.alpha / len(serving))
        low, high, sessions = low + weight * ends.low, high + weight * ends.high, sessions + n
        if n:
            risk, seen = risk + weight * losses / n, seen + weight
    return measured(risk / seen if seen else None, low, high, sessions), len(serving)


def _tiles(site: Site, points: Sequence[queries.TrafficPoint], now: float, span: str) -> tuple[Tile, ...]:
    calls = {route: sum(p.calls for p in points if p.route == route) for route in ("teacher", "student", "none")}
    answered = calls["teacher"] + calls["student"]
    share = f"{calls['student'] / answered:.0%}" if answered else "–"
    today, month = site.balance(now // DAY_S * DAY_S), site.balance(now // DAY_S * DAY_S - MONTH_S)
    tokens = sum(one.tokens_avoided for one in month.patterns)
    return (
        Tile("Calls", count(sum(calls.values())), f"in the last {span}"),
        Tile("Answered by a student", share, f"{count(calls['student'])} of {count(answered)} in the last {span}"),
        Tile("Money saved today", money(today.net), _money_note(today)),
        Tile("Money saved in 30 days", money(month.net), _money_note(month)),
        Tile("Teacher tokens avoided", count(tokens), "in 30 days; an estimate"),
    )


def _money_note(book: Balance) -> str:
    """What was avoided, and what was spent for it."""
    avoided = total(line.amounts.avoided for line in book.patterns)
    if book.unpriced:
        return f"{money(avoided)} avoided, less what has no price: {', '.join(book.unpriced[:3])}"
    return f"{money(avoided)} avoided, less shadow, audit, judge, training and serving"


def _in_words(points: Sequence[queries.TrafficPoint], span: str) -> str:
    routes = {route: sum(p.calls for p in points if p.route == route) for route in ("teacher", "student", "none")}
    told = ", ".join(f"{calls:,} {'not answered' if name == 'none' else name}" for name, calls in routes.items())
    return f"Calls in the last {span} by route: {told}."


def _line(row: RouteTimes) -> RouteLine:
    return RouteLine(
        route=row.route or "none",
        calls=count(row.calls),
        first_p50=millis(row.first_byte_p50_ms),
        first_p95=millis(row.first_byte_p95_ms),
        whole_p50=millis(row.latency_p50_ms),
        whole_p95=millis(row.latency_p95_ms),
        failed=of(row.failed, row.calls),
        fallbacks=of(row.fallbacks, row.calls) if row.fallbacks else "–",
    )


def _trained(site: Site, now: float) -> str:
    versions = site.students.list()
    return f"{versions[-1].version}, {ago(versions[-1].created_at, now)}" if versions else "never"


def health(site: Site, now: float) -> tuple[HealthItem, ...]:
    """How ingest, journal, store and the label runners are doing."""
    status = site.status()
    keeper, backlog = site.overview.keeper.health, site.overview.keeper.health.backlog_bytes
    damaged = "bad" if keeper.damaged_bytes else ""
    items = [
        HealthItem("Ingest", keeper.error or "working", "bad" if keeper.error else "good"),
        HealthItem("Waiting in the journal", size(backlog), "warn" if backlog > 64 << 20 else ""),
        HealthItem("Last calls stored", ago(keeper.last_call_at, now), ""),
        HealthItem("Journal bytes damaged", size(keeper.damaged_bytes), damaged),
        HealthItem("Store", f"{size(status.store.bytes)}, {count(status.store.calls)} calls", ""),
        HealthItem("Sessions waiting for labels", count(status.pending_sessions), ""),
    ]
    for runner in status.runners:
        waiting = f"waiting since {time.strftime('%H:%M:%S', time.gmtime(runner.since))}"
        done = f"{count(runner.done)} since the start"
        label, tone = f"{runner.kind.capitalize()} labels", "warn" if runner.problem else ""
        items.append(HealthItem(label, waiting if runner.problem else done, tone))
    return tuple(items)
