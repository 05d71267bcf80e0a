"""The table of patterns: volume, state, risk, cost and latency of both sides, the last change, and what is to gain."""

from collections.abc import Mapping
from dataclasses import dataclass

from .chart import SPARK_HEIGHT, SPARK_WIDTH, sparkline
from .figures import Measured, ago, count, measured, millis, money
from .pattern_lines import PatternLine, pattern_lines, pattern_pulses
from .views import Site
from .views_queries import Pulse


@dataclass(frozen=True)
class PatternView:
    """One row of the table."""

    pattern_id: str
    name: str
    about: str
    state: str
    state_text: str
    student: str
    risk: Measured
    progress: int | None
    """Per cent of the proof, on the scale of log-wealth."""
    missing: str
    calls: str
    calls_by_route: str
    spark: str
    cost: str
    saved: str
    latency: str
    would_save: str
    would_save_note: str
    changed: str
    change: str
    is_off: bool


@dataclass(frozen=True)
class Heading:
    """A column that the table can be ordered by."""

    label: str
    href: str
    chosen: bool


@dataclass(frozen=True)
class PatternsPage:
    """Everything on the page."""

    rows: tuple[PatternView, ...]
    headings: Mapping[str, Heading]
    query: str
    agents_url: str
    spark_width: int
    spark_height: int


def patterns_page(site: Site, order: str = "calls") -> PatternsPage:
    """The page as of now. Raises BadInput for an order that there is not."""
    now = site.clock()
    known = pattern_pulses(site)
    titles = {"calls": "Calls", "name": "Pattern", "state": "State", "risk": "Risk", "saved": "Cost and savings"}
    titles |= {"would_save": "Teaching it would save", "changed": "Last change"}
    return PatternsPage(
        rows=tuple(_view(line, known.get(line.pattern_id), now) for line in pattern_lines(site, order)),
        headings={name: Heading(title, f"/patterns?order={name}", name == order) for name, title in titles.items()},
        query=f"order={order}",
        agents_url=site.options.data_plane_url,
        spark_width=SPARK_WIDTH,
        spark_height=SPARK_HEIGHT,
    )


def _view(line: PatternLine, pulse: Pulse | None, now: float) -> PatternView:
    share = f" {line.share:.0%}" if line.state == "canary" else ""
    return PatternView(
        pattern_id=line.pattern_id,
        name=name_of_line(line),
        about=f"version {line.version} · {count(line.sessions)} sessions",
        state=line.state,
        state_text=line.state + share,
        student=line.student or "no student yet",
        risk=measured(line.risk, line.low, line.high, line.n, line.limit),
        progress=None if line.progress is None else round(100 * line.progress),
        missing=line.missing,
        calls=count(line.calls),
        calls_by_route=by_route(line),
        spark=sparkline(pulse.counts) if pulse else "",
        cost=f"teacher {money(line.teacher_cost)} a call",
        saved=f"net {money(line.dollars_saved)}" if line.student_calls else "nothing served yet",
        latency=f"teacher {millis(line.teacher_ms)} · student {millis(line.student_ms)}",
        would_save=_would_save(line),
        would_save_note=_repetitive(line),
        changed=ago(line.changed_at, now) if line.changed_at else "–",
        change=line.change,
        is_off=line.state == "off",
    )


def name_of_line(line: PatternLine) -> str:
    """As everywhere on the pages."""
    return f"{line.name} · {line.role or 'any'} turns"


def by_route(line: PatternLine) -> str:
    """Calls by who answered them."""
    parts = [f"{count(line.teacher_calls)} teacher", f"{count(line.student_calls)} student"]
    if line.fallback_calls:
        parts.append(f"{count(line.fallback_calls)} fell back")
    return " · ".join(parts)


def _would_save(line: PatternLine) -> str:
    if line.repetitive is None:
        return "–"
    if line.would_save is None or line.would_save_high is None:
        return "unknown price"
    return f"{money(line.would_save)} to {money(line.would_save_high)} a month"


def _repetitive(line: PatternLine) -> str:
    if line.repetitive is None or line.repetitive_low is None or line.repetitive_high is None:
        return ""
    low, high = line.repetitive_low, line.repetitive_high
    return f"{line.repetitive:.0%} repetitive ({low:.0%} to {high:.0%}, n = {line.repetitive_n})"
