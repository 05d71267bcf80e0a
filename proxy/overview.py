"""What the control plane knows, as plain dataclasses: the answers of the admin API and the source of the dashboard.

Everything is computed from the store and the board at the moment of asking; nothing is kept here.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..traffic import queries
from ..traffic.run_lock import was_killed
from ..traffic.store import Store
from .board import Board
from .explain import explain
from .keeper import Keeper, KeeperHealth
from .ledger import Ledger, Savings, ledger
from .options import ControlOptions
from .shadow import RunnerStatus


@dataclass(frozen=True)
class RouteRow:
    """One pattern's route and the evidence behind it: a row of `/api/routes`."""

    pattern_id: str
    agent_id: str
    name: str
    version: int
    role: str
    state: str
    student: str
    """Version that the state is about; empty without one."""
    share: float
    """Share of sessions that the student serves, in [0, 1]."""
    sessions: int
    """n: sessions in the evidence that counts in this state."""
    losses: float
    risk: float | None
    """Mean loss; None without data."""
    low: float
    high: float
    """Interval of the risk, valid at every look; [0, 1] without data."""
    limit: float | None
    """ε; None without a student."""
    progress: float | None
    """Log-wealth over the log-wealth that is proof, in [0, 1]; None where no proof is being gathered."""
    missing: str
    """What the next step needs, in words."""
    expected: int | None = None
    """Compared sessions that the next proof is still expected to take at the risk seen so far; None: none is being
    gathered, or none would come at that risk."""
    threshold: float | None = None
    """Lowest score of an answer that the student may give; None: any."""
    held: bool = False
    """An operator holds it: no promotions."""
    forced: bool = False
    """An operator promoted it beyond its evidence, which has not caught up yet."""
    pinned: bool = False
    """An operator has chosen this version."""
    blocks: tuple[str, ...] = ()
    """What stands in the way of the next step beside evidence, in words."""


@dataclass(frozen=True)
class PatternRow:
    """One pattern with its traffic, route and money: a row of `/api/patterns`."""

    pattern_id: str
    agent_id: str
    name: str
    version: int
    role: str
    calls: int
    sessions: int
    teacher_calls: int
    student_calls: int
    fallback_calls: int
    prompt_tokens: int
    completion_tokens: int
    last_at: float | None
    route: RouteRow
    tokens_saved: float
    """Teacher tokens avoided, net of audits (an estimate; see docs/admin-api.md)."""
    audits: int
    dollars_spent: float | None
    """On teacher-served calls; None: unknown price."""
    dollars_saved: float | None
    """Net of audits; None: unknown price."""


@dataclass(frozen=True)
class LedgerSummary:
    """Totals of the ledger."""

    teacher_calls: int
    student_calls: int
    teacher_tokens: int
    student_tokens: int
    tokens_saved: float
    dollars_spent: float | None
    dollars_saved: float | None
    unpriced: tuple[str, ...]
    """Models without a price: why money is unknown."""


@dataclass(frozen=True)
class Status:
    """`/api/status`: what runs and how it is."""

    off: bool
    """The big switch."""
    off_reason: str
    store: queries.StoreStats
    keeper: KeeperHealth
    pending_sessions: int
    """Sessions that are evidence once they are over and labelled."""
    states: dict[str, int]
    """Patterns by state."""
    runners: tuple[RunnerStatus, ...]
    ledger: LedgerSummary
    teacher_url: str
    student_url: str
    data_plane_url: str
    problems: tuple[str, ...]
    """What somebody should look at, in words; empty when all is well."""


@dataclass(frozen=True)
class RunRow:
    """One distillation run: a row of `/api/runs`."""

    run_id: str
    stage: str
    """Stage that it is in, `finished`, `failed` or `killed`; `starting` before the first word."""
    fraction: float
    """Share of that stage that is done, in [0, 1]."""
    message: str
    loss: float | None
    at: float
    """Time of the last word, Unix seconds."""


@dataclass(frozen=True)
class Overview:
    """Asks the parts. Holds references only."""

    store: Store
    keeper: Keeper
    options: ControlOptions
    runs_folder: Path
    runners: Sequence[Any] = field(default_factory=tuple)
    other_problems: Callable[[], Sequence[str]] = tuple

    @property
    def board(self) -> Board:
        return self.keeper.board

    def routes(self) -> list[RouteRow]:
        """One row per pattern, the busiest first."""
        return [self._route(summary) for summary in queries.list_patterns(self.store)]

    def patterns(self) -> list[PatternRow]:
        """One row per pattern, the busiest first."""
        return self._rows(queries.list_patterns(self.store))

    def pattern(self, pattern_id: str) -> tuple[PatternRow, dict[str, Any]]:
        """One of them, and its entry in the registry. Raises UnknownName."""
        summary, entry = queries.show_pattern(self.store, pattern_id)
        return self._rows([summary])[0], entry

    def ledger(self) -> Ledger:
        """The whole ledger."""
        return ledger(self.store, self.options.prices)

    def totals(self) -> Ledger:
        """The ledger with all days together: the same sums from a hundredth of the lines."""
        return ledger(self.store, self.options.prices, by_day=False)

    def status(self, totals: Ledger | None = None) -> Status:
        """Health and totals; these may have been read already."""
        patterns = self.store.rows("SELECT pattern_id FROM patterns ORDER BY created_at, pattern_id")
        states = [self.board.state(pattern).state for (pattern,) in patterns]
        runners = tuple(runner.status for runner in self.runners)
        health = self.keeper.health
        return Status(
            off=bool(self.board.big_switch["off"]),
            off_reason=self.board.big_switch["reason"],
            store=queries.stats(self.store),
            keeper=health,
            pending_sessions=self.keeper.pending_sessions,
            states={state: states.count(state) for state in dict.fromkeys(states)},
            runners=runners,
            ledger=summary_of(totals or self.totals()),
            teacher_url=self.options.teacher_url,
            student_url=self.options.student_url,
            data_plane_url=self.options.data_plane_url,
            problems=(*_problems(health, runners), *self.other_problems()),
        )

    def runs(self, limit: int = 20) -> list[RunRow]:
        """Distillation runs, the newest first."""
        folders = sorted((path for path in self.runs_folder.iterdir() if path.is_dir()), reverse=True)
        return [_run(folder) for folder in folders[:limit]]

    def _route(self, summary: queries.PatternSummary) -> RouteRow:
        state = self.board.state(summary.pattern_id)
        facts = explain(state)
        low, high = facts["interval"] or (0.0, 1.0)
        return RouteRow(
            pattern_id=summary.pattern_id,
            agent_id=summary.agent_id,
            name=summary.name,
            version=summary.version,
            role=summary.role,
            state=state.state,
            student=state.student,
            share=facts["serve"],
            sessions=facts["n"],
            losses=facts["losses"] or 0.0,
            risk=facts["risk"],
            low=low,
            high=high,
            limit=state.epsilon if state.student else None,
            progress=_progress(facts.get(state.state)),
            missing=facts["next"],
            expected=facts["expected"],
            threshold=state.threshold,
            held=state.held,
            forced=state.forced,
            pinned=state.pinned,
            blocks=tuple(facts["blocks"]),
        )

    def _rows(self, summaries: Sequence[queries.PatternSummary]) -> list[PatternRow]:
        book = self.totals()
        saved = {saving.pattern_id: saving for saving in book.savings}
        return [self._pattern(row, book, saved.get(row.pattern_id)) for row in summaries]

    def _pattern(self, row: queries.PatternSummary, book: Ledger, saved: Savings | None) -> PatternRow:
        return PatternRow(
            pattern_id=row.pattern_id,
            agent_id=row.agent_id,
            name=row.name,
            version=row.version,
            role=row.role,
            calls=row.calls,
            sessions=row.sessions,
            teacher_calls=row.teacher_calls,
            student_calls=row.student_calls,
            fallback_calls=row.fallback_calls,
            prompt_tokens=row.prompt_tokens,
            completion_tokens=row.completion_tokens,
            last_at=row.last_at,
            route=self._route(row),
            tokens_saved=saved.tokens if saved else 0.0,
            audits=saved.audits if saved else 0,
            dollars_spent=book.spent(row.pattern_id),
            dollars_saved=saved.dollars if saved else 0.0,
        )


def summary_of(book: Ledger) -> LedgerSummary:
    """Totals over all lines."""

    def tokens(route: str) -> int:
        return sum(line.prompt_tokens + line.completion_tokens for line in book.lines if line.route == route)

    def calls(route: str) -> int:
        return sum(line.calls for line in book.lines if line.route == route)

    return LedgerSummary(
        teacher_calls=calls("teacher"),
        student_calls=calls("student"),
        teacher_tokens=tokens("teacher"),
        student_tokens=tokens("student"),
        tokens_saved=sum(saving.tokens for saving in book.savings),
        dollars_spent=book.spent(),
        dollars_saved=book.saved(),
        unpriced=book.unpriced,
    )


def _progress(gate: dict[str, Any] | None) -> float | None:
    if not gate or "log_needed" not in gate:
        return None
    return min(max(gate["log_wealth"] / gate["log_needed"], 0.0), 1.0)


def _problems(health: KeeperHealth, runners: Sequence[RunnerStatus]) -> list[str]:
    found = [f"{runner.kind.capitalize()}: {runner.problem}" for runner in runners if runner.problem]
    if health.error:
        found.append(f"The last round of ingest failed: {health.error}")
    if health.damaged_bytes:
        found.append(f"{health.damaged_bytes} bytes of the journal held no intact record and were skipped.")
    if health.unreadable:
        found.append(f"{health.unreadable} journal records could not be read.")
    return found


def _run(folder: Path) -> RunRow:
    """The last whole line of a run's progress; a line that is being written is left out."""
    path = folder / "progress.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    try:
        last: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    except ValueError:
        last = {"message": "its progress file is damaged"}
    stage = str(last.get("stage", "starting"))
    if stage not in ("finished", "failed") and was_killed(folder):
        stage = "killed"
    return RunRow(
        run_id=folder.name,
        stage=stage,
        fraction=float(last.get("fraction", 0.0)),
        message=str(last.get("message", "")),
        loss=last.get("loss"),
        at=float(last.get("at", folder.stat().st_mtime)),
    )
