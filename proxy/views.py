"""What all pages of the dashboard share: where their answers come from, and the frame around them.

A page is one frozen dataclass of texts and numbers that are ready to be shown; the templates hold no arithmetic, and a
test compares the fields with the names that the templates use. What the board knows is read anew for every page, so a
switch shows at once; what costs the store something is remembered for a moment (see `memo`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..traffic import queries
from ..traffic.errors import UnknownName
from ..traffic.layout import DataDir
from ..traffic.patterns import PatternEntry
from ..traffic.store import Store
from ..traffic.students import StudentRegister
from .admin_patterns import PatternAdmin
from .board import Board
from .ledger import Ledger, Means, ledger, teacher_means
from .memo import Memo
from .options import ControlOptions
from .overview import Overview, Status
from .savings import Balance, balance
from .tool_policies import PolicyBook

DAY_S = 86_400.0


@dataclass(frozen=True)
class Notice:
    """Something that somebody should look at."""

    tone: str
    """`warn` or `bad`."""
    text: str


@dataclass(frozen=True)
class Shell:
    """The frame around a page."""

    title: str
    section: str
    """Name of the view in the navigation."""
    agents_url: str
    teacher_url: str
    off: bool
    notices: tuple[Notice, ...]


@dataclass(frozen=True)
class Site:
    """Where pages get what they show. Holds references and remembered answers only."""

    overview: Overview
    data: DataDir
    admin: PatternAdmin
    policies: PolicyBook
    clock: Callable[[], float] = time.time
    memo: Memo = field(default_factory=Memo)
    started: float = 0.0
    """When the control plane began, Unix seconds."""

    @property
    def store(self) -> Store:
        return self.overview.store

    @property
    def board(self) -> Board:
        return self.overview.board

    @property
    def options(self) -> ControlOptions:
        return self.overview.options

    @property
    def students(self) -> StudentRegister:
        return StudentRegister(self.data)

    def patterns(self) -> list[queries.PatternSummary]:
        """All patterns with their traffic, the busiest first."""
        return self.memo.get("patterns", lambda: queries.list_patterns(self.store))

    def pattern(self, pattern_id: str) -> queries.PatternSummary:
        """One of them. Raises UnknownName."""
        for row in self.patterns():
            if row.pattern_id == pattern_id:
                return row
        raise UnknownName(f"There is no pattern {pattern_id!r}. The page “Patterns” lists them.")

    def entry(self, pattern_id: str) -> PatternEntry:
        """A pattern as the registry knows it. Raises UnknownName."""
        for entry in self.overview.keeper.registry.entries():
            if entry.pattern_id == pattern_id:
                return entry
        raise UnknownName(f"There is no pattern {pattern_id!r}. The page “Patterns” lists them.")

    def names(self) -> dict[str, str]:
        """What each pattern is called on pages, by its id."""
        return {entry.pattern_id: name_of(entry) for entry in self.overview.keeper.registry.entries()}

    def ledger(self, since: float) -> Ledger:
        """Money and tokens since a moment (Unix seconds), all days together."""

        def make() -> Ledger:
            return ledger(self.store, self.options.prices, since, by_day=False, means=self._means())

        return self.memo.get(("ledger", since), make, 5.0)

    def balance(self, since: float) -> Balance:
        """What students have brought since a moment after everything they cost."""
        options = self.options

        def make() -> Balance:
            versions = self.students.list()
            return balance(self.store, options.prices, versions, options.training_usd_hour, since, self._means())

        return self.memo.get(("balance", since), make, 5.0)

    def status(self) -> Status:
        """Health and totals."""
        return self.memo.get("status", lambda: self.overview.status(self.ledger(0.0)))

    def _means(self) -> Means:
        return self.memo.get("means", lambda: teacher_means(self.store), 5.0)

    def shell(self, title: str, section: str) -> Shell:
        """The frame, as things are now."""
        switch = self.board.big_switch
        off = bool(switch["off"])
        status = self.status()
        said = [Notice("bad", f"Everything goes to the teacher. {switch['reason']}".strip())] if off else []
        return Shell(
            title=title,
            section=section,
            agents_url=self.options.data_plane_url,
            teacher_url=self.options.teacher_url or "not set",
            off=off,
            notices=(*said, *(Notice("warn", problem) for problem in status.problems)),
        )


def name_of(pattern: PatternEntry | queries.PatternSummary) -> str:
    """Name and role: an agent's patterns share the name."""
    return f"{pattern.name} · {pattern.role or 'any'} turns"
