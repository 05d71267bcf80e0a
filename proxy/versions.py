"""Several student versions of one pattern: which of them has it, and what a new one inherits."""

from collections.abc import Callable, Iterable, Sequence

from .ramp import shares
from .routes import Route
from .states import SERVING, PatternState


def ruling(states: Iterable[PatternState]) -> PatternState:
    """Which of a pattern's versions decides its route: `off` holds for all, then the pinned one, then who serves, then
    the newest trial."""
    order = {"off": 3, "live": 1, "canary": 1}
    return max(
        states,
        key=lambda state: (max(order.get(state.state, 0), 2 * state.pinned), state.k),
        default=PatternState(),
    )


def next_trial(states: Iterable[PatternState]) -> int:
    """Number of the pattern's next trial: for `StudentRegistered.k`, and for `Operator.k` when `resume` begins one."""
    return 1 + max((state.k for state in states), default=0)


def remaining_wait(states: Iterable[PatternState]) -> int:
    """Cooldown that a new version inherits (`StudentRegistered.wait`)."""
    return max((state.cooldown for state in states), default=0)


def challenged(state: PatternState, states: Iterable[PatternState]) -> bool:
    """Whether a newer version is in shadow behind this one, so that it needs more of the teacher's answers."""
    return state.state == "live" and any(other.state == "shadow" and other.k > state.k for other in states)


def route_of(states: Sequence[PatternState], salt: Callable[[str], str]) -> Route:
    """The pattern's entry in the route table. `salt` of a student version must be the same at all times.

    A canary takes its share of the sessions; the newest older version that is live keeps the others.
    """
    lead = ruling(states)
    route = _entry(lead, salt)
    if lead.state not in SERVING or lead.pinned:
        return route
    older = [state for state in states if state.state == "live" and state.k < lead.k]
    if not older or lead.state == "live":
        return route
    behind = max(older, key=lambda state: state.k)
    return Route(
        state=route.state,
        student=route.student,
        share=route.share,
        salt=route.salt,
        threshold=route.threshold,
        behind=_entry(behind, salt),
    )


def _entry(state: PatternState, salt: Callable[[str], str]) -> Route:
    return Route(
        state=state.state,
        student=state.student,
        share=shares(state).serve,
        salt=salt(state.student),
        threshold=state.threshold if state.state in SERVING else None,
    )
