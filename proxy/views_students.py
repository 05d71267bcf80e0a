"""Student versions and the runs that made them: what went in, what was dropped, how they scored, where they serve."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from ..traffic.students import Manifest
from .figures import NO_VALUE, ago, count
from .states import SERVING
from .student_runs import history_in
from .views import Site
from .views_trajectories import Link


@dataclass(frozen=True)
class Score:
    """A row of `/tables/scores`: the examination on one pattern, or (empty id) on all."""

    version: str
    pattern_id: str
    calls: int
    sessions: int
    agreement: float | None
    low: float
    high: float
    """95 % interval over sessions."""
    floor: float | None
    """Agreement of the commonest training answer: no model at all."""
    base: float | None
    """Agreement of the untrained base; None when it was not asked."""


@dataclass(frozen=True)
class ScoreView:
    """One line of the examination."""

    name: str
    agreement: str
    interval: str
    low: float
    high: float
    point: float
    """Of the drawn interval, in hundredths of its width."""
    floor: str
    floor_at: float
    base: str
    reasons: str


@dataclass(frozen=True)
class StudentLine:
    """One row of the list."""

    href: str
    version: str
    status: str
    tone: str
    base: str
    made: str
    sessions: str
    score: ScoreView
    serves: tuple[Link, ...]


@dataclass(frozen=True)
class RunLine:
    """One distillation run in the list."""

    href: str
    run_id: str
    stage: str
    tone: str
    """`running`, `done` or `failed`."""
    percent: int | None
    detail: str


@dataclass(frozen=True)
class HistoryLine:
    """One run that the schedule has started."""

    begun: str
    agent: str
    reason: str
    outcome: str
    version: Link | None
    message: str


@dataclass(frozen=True)
class StudentsPage:
    """Versions and runs."""

    students: tuple[StudentLine, ...]
    runs: tuple[RunLine, ...]
    history: tuple[HistoryLine, ...]
    """What was trained by itself."""


def students_page(site: Site) -> StudentsPage:
    """All versions, the newest first, and the newest runs."""
    versions = sorted(site.students.list(), key=lambda one: -one.created_at)
    return StudentsPage(tuple(_line(site, one) for one in versions), run_lines(site), history_lines(site))


def history_lines(site: Site) -> tuple[HistoryLine, ...]:
    """The newest runs of the schedule."""
    agents = {entry.agent_id: entry.name for entry in site.admin.registry.entries()}
    return tuple(
        HistoryLine(
            begun=ago(one.at, site.clock()),
            agent=agents.get(one.agent_id, one.agent_id),
            reason=one.reason,
            outcome=one.outcome or "running",
            version=Link(f"/students/{quote(one.version, safe='')}", one.version) if one.version else None,
            message=one.message,
        )
        for one in history_in(site.overview.runs_folder, 20)
    )


def run_lines(site: Site, limit: int = 20) -> tuple[RunLine, ...]:
    """The newest runs."""
    found = []
    for row in site.overview.runs(limit):
        tone = {"finished": "done", "failed": "failed", "killed": "failed"}.get(row.stage, "running")
        loss = f"loss {row.loss:.3f}" if row.loss is not None else ""
        detail = " · ".join(part for part in (row.message, loss) if part)
        percent = round(100 * row.fraction) if tone == "running" else None
        found.append(RunLine(f"/runs/{quote(row.run_id, safe='')}", row.run_id, row.stage, tone, percent, detail))
    return tuple(found)


def scores_of(manifest: Manifest) -> list[Score]:
    """The examination of a version: on all patterns, then one by one."""
    whole = manifest.scores
    rows = [{**whole, "pattern_id": ""}, *whole.get("patterns", [])] if whole else []
    return [
        Score(
            manifest.version,
            str(row.get("pattern_id", "")),
            int(row.get("calls", 0)),
            int(row.get("sessions", 0)),
            row.get("agreement"),
            float(row.get("low", 0.0)),
            float(row.get("high", 1.0)),
            row.get("floor"),
            row.get("base"),
        )
        for row in rows
    ]


def _line(site: Site, manifest: Manifest) -> StudentLine:
    return StudentLine(
        href=f"/students/{quote(manifest.version, safe='')}",
        version=manifest.version,
        status=manifest.status,
        tone=tone_of(manifest),
        base=manifest.base,
        made=ago(manifest.created_at, site.clock()),
        sessions=sessions_of(manifest),
        score=whole_score(manifest),
        serves=tuple(states_of(site, manifest)),
    )


def tone_of(manifest: Manifest) -> str:
    return {"candidate": "good", "rejected": "bad"}.get(manifest.status, "")


def sessions_of(manifest: Manifest) -> str:
    parts = manifest.sessions
    return f"{count(parts.get('train', 0))} to learn from, {count(parts.get('held_out', 0))} held out"


def states_of(site: Site, manifest: Manifest) -> list[Link]:
    names, found = site.names(), []
    for pattern in manifest.pattern_ids:
        for state in site.board.states(pattern):
            if state.student == manifest.version:
                share = f" {state.share:.0%}" if state.state in SERVING else ""
                found.append(Link(f"/patterns/{pattern}", f"{names.get(pattern, pattern)}: {state.state}{share}"))
    return found


def whole_score(manifest: Manifest) -> ScoreView:
    found = scores_of(manifest)
    return (
        score_view(found[0], {}, {})
        if found
        else ScoreView("all patterns", NO_VALUE, "not examined", 0, 0, 0, "", 0, "", "")
    )


def score_view(row: Score, names: Mapping[str, str], reasons: Mapping[str, int]) -> ScoreView:
    agreement, floor = row.agreement or 0.0, row.floor or 0.0
    lost = ", ".join(f"{number} × {why.replace('_', ' ')}" for why, number in sorted(reasons.items()))
    return ScoreView(
        name=names.get(row.pattern_id, row.pattern_id) if row.pattern_id else "all patterns",
        agreement=NO_VALUE if row.agreement is None else f"{agreement:.3f}",
        interval=f"{row.low:.3f} to {row.high:.3f} · n = {row.sessions:,} sessions",
        low=round(100 * row.low, 1),
        high=round(100 * row.high, 1),
        point=round(100 * agreement, 1),
        floor=NO_VALUE if row.floor is None else f"{floor:.3f}",
        floor_at=round(100 * floor, 1),
        base="not asked" if row.base is None else f"{row.base:.3f}",
        reasons=lost,
    )
