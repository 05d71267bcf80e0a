"""The tables behind the pages, by name: each is a function of the page's parameters and a dataclass of columns."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..traffic import queries
from ..traffic.errors import BadInput, UnknownName
from ..traffic.queries import TrafficPoint, TrajectorySummary
from .chart import SPANS
from .options import Setting
from .overview import RunRow
from .pairs import Pair
from .pattern_lines import PatternLine, pattern_lines
from .student_runs import RunEvent, story_of
from .views import Site
from .views_changes import Change, change_of
from .views_evidence import EvidenceBook, EvidencePoint
from .views_health import health
from .views_overview import HealthItem, times, traffic
from .views_pairs import pair_rows
from .views_pattern import EdgeLine, changes_of, edges_of, sides_of, step_graph_of
from .views_queries import RouteTimes, Side
from .views_students import Score, scores_of
from .views_trajectories import Step, steps_of

LONGEST = 10_000
Query = Mapping[str, str]


class Table(NamedTuple):
    """One table."""

    columns: type
    rows: Callable[[Query], Sequence[Any]]


class Tables:
    """All of them."""

    def __init__(self, site: Site, evidence: EvidenceBook) -> None:
        self._site, self._evidence = site, evidence
        self.all: dict[str, Table] = {**self._lists(), **self._details()}

    def rows(self, name: str, query: Query) -> tuple[type, Sequence[Any]]:
        """Columns and rows. Raises UnknownName and BadInput."""
        table = self.all.get(name)
        if table is None:
            raise UnknownName(f"There is no table {name!r}. There are: {', '.join(self.all)}.")
        return table.columns, table.rows(query)

    def _lists(self) -> dict[str, Table]:
        site = self._site
        return {
            "traffic": Table(TrafficPoint, lambda query: traffic(site, _span(query))),
            "latency": Table(RouteTimes, lambda query: times(site, _span(query))),
            "patterns": Table(PatternLine, lambda query: pattern_lines(site, query.get("order", "calls"))),
            "transitions": Table(Change, self._changes),
            "pairs": Table(Pair, self._pairs),
            "trajectories": Table(TrajectorySummary, self._trajectories),
            "students": Table(Score, lambda _: [scores_of(one)[0] for one in site.students.list() if one.scores]),
            "runs": Table(RunRow, lambda query: site.overview.runs(_limit(query))),
            "health": Table(HealthItem, lambda _: health(site, site.clock())),
            "settings": Table(Setting, lambda _: site.options.settings),
        }

    def _details(self) -> dict[str, Table]:
        site = self._site
        return {
            "sides": Table(Side, lambda query: sides_of(site, _named(query, "pattern"))),
            "evidence": Table(EvidencePoint, self._levels),
            "step-graph": Table(EdgeLine, lambda query: edges_of(step_graph_of(site, _named(query, "pattern")))),
            "steps": Table(Step, self._steps),
            "scores": Table(Score, lambda query: scores_of(site.students.get(_named(query, "version")))),
            "run": Table(RunEvent, lambda query: story_of(site.data.runs, _named(query, "run")).events),
        }

    def _changes(self, query: Query) -> Sequence[Change]:
        if pattern := query.get("pattern", ""):
            return changes_of(self._site, pattern, _limit(query))
        return [change_of(row) for row in self._site.board.log.transitions(_limit(query))]

    def _pairs(self, query: Query) -> Sequence[Pair]:
        names = ("pattern", "only", "before")
        pattern, only, before = (query.get(name, "") for name in names)
        return pair_rows(self._site, pattern, only or "all", before, _limit(query))

    def _trajectories(self, query: Query) -> Sequence[TrajectorySummary]:
        before = query.get("before", "")
        try:
            newest = float(before) if before else None
        except ValueError as error:
            raise BadInput(f"Parameter 'before' is a time in Unix seconds, not {before!r}.") from error
        agent = query.get("agent", "")
        return queries.list_trajectories(self._site.store, _limit(query), agent=agent, before=newest)

    def _levels(self, query: Query) -> Sequence[EvidencePoint]:
        pattern = _named(query, "pattern")
        student = query.get("student") or self._site.board.state(pattern).student
        return self._evidence.series(pattern, student).points() if student else []

    def _steps(self, query: Query) -> Sequence[Step]:
        store = self._site.store
        return steps_of(store, queries.show_trajectory(store, _named(query, "trajectory")))


def _span(query: Query) -> str:
    span = query.get("span", "1h")
    if span not in SPANS:
        raise BadInput(f"Expected span {', '.join(SPANS)}, not {span!r}.")
    return span


def _named(query: Query, name: str) -> str:
    if not query.get(name):
        raise BadInput(f"This table needs the parameter {name!r}.")
    return query[name]


def _limit(query: Query) -> int:
    wanted = query.get("limit", "1000")
    if not wanted.isdigit() or not 1 <= int(wanted) <= LONGEST:
        raise BadInput(f"Parameter 'limit' must lie between 1 and {LONGEST}, not be {wanted!r}.")
    return int(wanted)
