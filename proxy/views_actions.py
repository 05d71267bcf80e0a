"""What an operator can do with a pattern, state by state, in words."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import floor

from ..traffic.errors import BadInput
from .operators import MOST_SHARE, Wish, check
from .ramp import allowed_share
from .states import SERVING, WAITING, PatternState


@dataclass(frozen=True)
class Action:
    """Something that an operator can do here."""

    name: str
    label: str
    text: str
    """What happens then."""
    danger: bool
    force: bool = False
    """It goes beyond the evidence, and the state stays marked until the evidence has caught up."""
    share: int | None = None
    """Percent that the student has, where a share is asked for."""
    allowed: int = 0
    """Percent up to which a share does not go beyond the evidence."""


def actions_of(state: PatternState) -> tuple[Action, ...]:
    """What an operator can do in a state."""
    if state.state == "off":
        return (Action("resume", "Turn on", f"It returns to {state.resume or 'observe'}.", False),)
    off = Action("off", "Turn off", "Its calls go to the teacher within a second, until somebody turns it on.", True)
    return (*(_words(state) if state.student else ()), off)


def _words(state: PatternState) -> Iterator[Action]:
    if state.state in ("shadow", "canary"):
        yield _promotion(state)
    if state.state in ("shadow", *SERVING):
        yield _share(state)
    if state.held:
        yield Action("resume", "Release", "Its evidence promotes it again.", False)
    elif state.state in ("shadow", "canary"):
        yield Action("hold", "Hold", "It goes on gathering evidence, but is not promoted by itself.", False)
    if state.state in WAITING:
        yield Action("resume", "Try again", "A new trial begins in shadow, at a smaller share of α.", False)
    if state.state in ("shadow", *SERVING):
        told = "The student loses the pattern, and waits in quarantine before another trial."
        yield Action("demote", "Demote", told, True)


def _share(state: PatternState) -> Action:
    most = floor(100 * min(max(allowed_share(state), state.share), MOST_SHARE))
    told = "It is given so much of the pattern, all of it audited, until somebody releases it. "
    if most < 100 * MOST_SHARE:
        told += f"Above {most}% it goes beyond its evidence, and is marked until that has caught up."
    return Action("share", "Set share", told, True, share=round(100 * min(state.share, MOST_SHARE)), allowed=most)


def _promotion(state: PatternState) -> Action:
    after = "canary" if state.state == "shadow" else "live"
    try:
        check(state, Wish("promote", "operator"))
    except BadInput:
        told = "Its evidence does not go that far. It stays marked until the evidence has caught up; the guard watches."
        return Action("promote", f"Promote to {after}", told, True, True)
    return Action("promote", f"Promote to {after}", "Its evidence allows it.", False)
