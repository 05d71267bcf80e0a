"""The threshold of a version that serves a part of its pattern: looser on proof, stricter at once on an alarm.

The row of gates that proved the part (`threshold`) goes on while the version is live: in a share of the sessions the
answers that were too unsure to be served are asked for again and compared, so that each such session is seen whole. A
threshold is tried when its own gate has crossed, after those of all stricter ones, and then only in a canary of its
own, with a new share of the error budget; nothing that was proven under the threshold before counts there.

Back is the way that needs no proof: the threshold before was proven, and its part has been watched all along
(`stricter`). After one step back the threshold stays for the rest of the trial.
"""

from typing import Any

from msgspec.structs import replace

from .evidence import Trail
from .rules import Ready, fresh_service, judge_is_right
from .states import PatternState

REST = 50
"""Sessions seen whole after a gate has crossed, in which a still looser one may: each try costs a canary."""
FAULTS = ("invalid_output", "no_answer")
"""Alarms that say nothing about sure and unsure answers: no threshold helps."""


def seeking(state: PatternState) -> bool:
    """Whether a looser threshold is looked for: the version is live with one, and the next gate in the row, or that of
    the whole, may still cross."""
    return _movable(state) and _hopeful(state)


def _movable(state: PatternState) -> bool:
    bound = state.settled or state.held or state.forced or not state.options.loosen_share
    return state.state == "live" and state.threshold is not None and not bound


def _hopeful(state: PatternState) -> bool:
    ladder, whole = state.ladder, state.shadow
    if ladder is None or whole is None or state.whole >= state.options.confidence_sessions:
        return False
    return not all(gate.futile for gate in (*ladder.gates[ladder.passed :][:1], whole))


def looser(state: PatternState) -> Ready | None:
    """What the sessions seen whole have proven beyond what is served; None: nothing."""
    ladder, whole, served = state.ladder, state.shadow, state.threshold
    if not _movable(state) or ladder is None or whole is None or served is None or not judge_is_right(state):
        return None
    if whole.crossed:
        return Ready(None, True)
    if ladder.threshold is None or ladder.threshold >= served:
        return None
    return Ready(ladder.threshold, not _hopeful(state) or ladder.n >= ladder.passed_at + REST)


def loosened(state: PatternState, threshold: float | None) -> dict[str, Any]:
    """Fields of a state that begins the canary of a looser threshold."""
    begun = replace(state, threshold=threshold, stood=state.threshold)
    return {**fresh_service(begun), "threshold": threshold, "stood": state.threshold}


def tightened(state: PatternState, alarm: str) -> dict[str, Any]:
    """Fields of a state that returns to the threshold at which it was live before; none where there is no such
    threshold, or where its part is not above doubt."""
    watched = state.in_service.now.stricter if state.in_service else None
    if state.stood is None or alarm in FAULTS or watched is None or not watched.calm:
        return {}
    fresh = fresh_service(replace(state, threshold=state.stood, stood=None))
    bundle = replace(fresh["in_service"].now, guard=watched.guard)
    back = {"threshold": state.stood, "stood": None, "settled": True, "share": 1.0, "forced": False, "warned": False}
    return {**fresh, "in_service": Trail(base=bundle, now=bundle), **back}
