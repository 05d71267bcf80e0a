"""The guard of a stricter threshold, beside that of the one in force.

A version that has loosened its threshold was live at a stricter one before. As long as this guard, which hears only the
answers that the stricter one would have served, raises no alarm, what was proven of that part stands: the version can
return to it at once when the guard of the whole alarms, and its watch goes on without a gap.
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from .gate import session_loss
from .guard import Guard
from .threshold import Scored, accepts


class Stricter(msgspec.Struct, frozen=True, kw_only=True):
    """State of that guard. `update` returns the next state."""

    threshold: float
    """Lowest score that it hears of."""
    guard: Guard
    how: str = "mean"
    """Loss of a session: `mean` or `max` of its accepted calls'."""

    @property
    def calm(self) -> bool:
        """Whether the part above the threshold gives no reason to doubt."""
        return not self.guard.alarmed and not self.guard.warning

    def update(self, items: Sequence[Scored]) -> "Stricter":
        """The state after one more audited session, given as score and loss of its compared answers."""
        accepted = [loss for score, loss in items if accepts(self.threshold, score)]
        return replace(self, guard=self.guard.update(session_loss(accepted, self.how))) if accepted else self
