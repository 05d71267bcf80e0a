"""Carries out edits of patterns: renames, merges, splits and undos (docs/patterns.md).

What is proved stays with what it was proved on: a merge or a split makes patterns with new ids, which begin without
evidence. So no student may serve a pattern at the moment it goes out of use, or its users would change hands unasked:
the edit is refused, or with `force` the student is demoted first, with an event of its own.
"""

from collections.abc import Callable

from ..traffic.errors import BadInput
from ..traffic.pattern_edits import Change, Event
from ..traffic.pattern_log import PatternLog
from ..traffic.pattern_plans import agents_left
from ..traffic.patterns import Registry
from ..traffic.store import Store
from .board import Board
from .operators import Wish
from .states import SERVING

Plan = Callable[[Registry], Change]


class PatternEditor:
    """Holds the history and puts it in force. The keeper's lock serialises its users."""

    def __init__(self, store: Store, registry: Registry, board: Board, clock: Callable[[], float]) -> None:
        self._log = PatternLog(store)
        self._registry, self._board, self._clock = registry, board, clock
        if self._log.in_force != registry.edits.events:
            registry.edit(self._log.in_force)

    @property
    def history(self) -> tuple[Event, ...]:
        """All edits and undos, oldest first."""
        return self._log.events

    def carry_out(self, plan: Plan, actor: str, force: bool = False) -> Event:
        """Plan and commit one change; in force in this process when it returns. Raises UnknownName or BadInput."""
        change = plan(self._registry)
        left = agents_left(self._registry, change)
        patterns = [entry.pattern_id for entry in self._registry.entries() if entry.agent_id in left]
        self._take_back([one for one in patterns if self._board.state(one).state in SERVING], actor, force)
        event = self._log.append(change, self._clock(), actor)
        self._registry.edit(self._log.in_force)
        return event

    def _take_back(self, serving: list[str], actor: str, force: bool) -> None:
        if serving and not force:
            raise BadInput(
                f"A student serves {', '.join(serving)}, and this would take the pattern out of use. Send it back to "
                f"the teacher first (tutelage routes off {serving[0]}), or repeat with --force, which demotes it."
            )
        for pattern in serving:
            while self._board.state(pattern).state in SERVING:
                self._board.operate(pattern, Wish("demote", actor, "taken out of use by an edit of patterns"))
