"""What an operator may say to a pattern's versions, and what is answered to what they may not.

A word is checked before it becomes an event, so the log holds only what was done. Going beyond the evidence needs
`force`; the state then stays marked until the evidence has caught up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from ..traffic.errors import BadInput, UnknownName
from .explain import missing
from .ramp import allowed_share
from .rules import proof, ready
from .states import ACTIONS, SERVING, WAITING, PatternState
from .versions import ruling

SWITCHES = ("off", "on", "resume")
"""What can be said to everything at once."""
LEAST_SHARE, MOST_SHARE = 0.01, 0.80
"""Shares of the sessions that can be set by hand; all of them are for `promote`."""


@dataclass(frozen=True)
class Wish:
    """What an operator wants of a pattern, or of everything."""

    action: str
    """One of `states.ACTIONS`; for everything one of SWITCHES."""
    actor: str
    """Who says so."""
    reason: str = ""
    student: str = ""
    """Version that is meant; empty: the one that has the pattern."""
    force: bool = False
    """Promote, or set a share, beyond the evidence; the state stays marked until the evidence has caught up."""
    share: float = 0.0
    """For `share`: the student's share of the sessions."""


def check_word(action: str, everything: bool) -> None:
    """Raises BadInput for a word that nobody understands."""
    allowed = SWITCHES if everything else ACTIONS
    if action not in allowed:
        raise BadInput(f"An operator can say {', '.join(allowed)}{' to everything' * everything}, not {action!r}.")


def meant(states: Sequence[PatternState], pattern_id: str, wish: Wish) -> list[PatternState]:
    """The versions that a word on a pattern is for. Raises UnknownName or BadInput."""
    action, student = wish.action, wish.student
    if student:
        named = [state for state in states if state.student == student]
        if not named:
            known = ", ".join(state.student for state in states if state.student) or "none"
            raise UnknownName(f"Pattern {pattern_id} has no student version {student!r}. It has: {known}.")
        return named
    if action == "pin":
        raise BadInput("Say which version is to be pinned: routes pin PATTERN VERSION.")
    if action in ("on", "resume") and (off := [state for state in states if state.state == "off"]):
        return off
    if action == "unpin":
        return [state for state in states if state.pinned]
    lead = ruling(states)
    if not lead.student and action not in SWITCHES:
        raise UnknownName(f"Pattern {pattern_id} has no student version that could be told to {action}.")
    return [lead]


def check(state: PatternState, wish: Wish) -> None:
    """Raises BadInput where a word makes no sense in this state, or asks for more than the evidence gives."""
    action = wish.action
    if wish.share and action != "share":
        raise BadInput(f"A share goes with the word `share`, not with `{action}`.")
    if action == "promote":
        _check_promotion(state, wish.force)
    elif action == "share":
        _check_share(state, wish.share, wish.force)
    elif action == "demote" and state.state not in ("shadow", *SERVING):
        raise BadInput(f"{state.student} is {state.state}: there is nothing to demote it from.")
    elif action == "hold" and state.state in ("off", *WAITING):
        raise BadInput(f"{state.student} is {state.state} and is not promoted anyway.")


def _check_promotion(state: PatternState, force: bool) -> None:
    if state.state not in ("shadow", "canary"):
        why = {"live": "serves everything already", "off": "is switched off: use `resume` first"}
        what = why.get(state.state, f"is {state.state}: use `resume` first, which begins a new trial in shadow")
        raise BadInput(f"{state.student} {what}.")
    proven = ready(state) if state.state == "shadow" else proof(state)
    if not proven and not force:
        raise BadInput(
            f"The evidence for {state.student} does not go that far: {missing(state)}. "
            "With --force it is promoted all the same, and stays marked until the evidence has caught up."
        )


def _check_share(state: PatternState, share: float, force: bool) -> None:
    if not LEAST_SHARE <= share <= MOST_SHARE:
        raise BadInput(
            f"A share set by hand lies between {LEAST_SHARE:.0%} and {MOST_SHARE:.0%} of the sessions, not at "
            f"{share:.0%}. `promote` gives a student all of them, `off` none."
        )
    if state.state not in ("shadow", *SERVING):
        raise BadInput(f"{state.student} is {state.state} and has no share: use `resume` first.")
    allowed = allowed_share(state)
    if share > max(allowed, state.share) and not force:
        # Rounded down: the share that is named must be one that is taken.
        raise BadInput(
            f"The evidence for {state.student} allows a share of {floor(100 * allowed)} %, not {share:.0%}: "
            f"{missing(state)}. With --force it is given all the same, and stays marked until the evidence has caught "
            "up."
        )
