"""Several versions of one pattern."""

import msgspec
import pytest

from tutelage.proxy.routes import route_for
from tutelage.proxy.states import PatternState
from tutelage.proxy.versions import challenged, next_trial, remaining_wait, route_of, ruling

LIVE = PatternState(state="live", student="lamp@1", k=1, share=1.0)
SHADOW = PatternState(state="shadow", student="lamp@2", k=2)
CANARY = PatternState(state="canary", student="lamp@2", k=2, share=0.10)


@pytest.mark.parametrize(
    ("states", "student"),
    [
        ([LIVE, SHADOW], "lamp@1"),
        ([LIVE, CANARY], "lamp@2"),
        ([LIVE, msgspec.structs.replace(SHADOW, state="live")], "lamp@2"),
        ([LIVE, msgspec.structs.replace(SHADOW, state="off")], "lamp@2"),
        ([msgspec.structs.replace(LIVE, state="quarantined"), SHADOW], "lamp@2"),
        ([msgspec.structs.replace(LIVE, pinned=True), CANARY], "lamp@1"),
        ([msgspec.structs.replace(LIVE, pinned=True), msgspec.structs.replace(CANARY, state="off")], "lamp@2"),
    ],
)
def test_who_rules_a_pattern(states: list[PatternState], student: str) -> None:
    assert ruling(states).student == student
    assert ruling(list(reversed(states))).student == student


def test_without_versions_nobody_does() -> None:
    assert ruling([]).state == "observe"
    assert (next_trial([]), remaining_wait([])) == (1, 0)


def test_what_a_new_version_inherits() -> None:
    fallen = msgspec.structs.replace(LIVE, state="quarantined", cooldown=480, k=3)
    assert (next_trial([fallen, SHADOW]), remaining_wait([fallen, SHADOW])) == (4, 480)


def test_a_live_version_is_challenged_by_a_newer_one_in_shadow() -> None:
    assert challenged(LIVE, [LIVE, SHADOW])
    assert not challenged(LIVE, [LIVE, CANARY])
    assert not challenged(CANARY, [LIVE, CANARY])


def test_a_canary_leaves_the_other_sessions_to_the_live_version() -> None:
    route = route_of([LIVE, CANARY], lambda student: student)
    assert (route.student, route.share) == ("lamp@2", 0.10)
    assert route.behind is not None
    assert (route.behind.student, route.behind.share) == ("lamp@1", 1.0)
    served = [route_for(route, f"s{i}") for i in range(2000)]
    newer = sum(found is not None and found.student == "lamp@2" for found in served)
    assert 120 < newer < 280
    assert all(served)


@pytest.mark.parametrize("state", ["shadow", "blocked", "quarantined", "observe"])
def test_a_version_that_does_not_serve_has_nobody_behind(state: str) -> None:
    alone = msgspec.structs.replace(CANARY, state=state)
    assert route_of([alone], str).behind is None
    assert route_of([alone], str).share == 0


def test_a_threshold_is_in_the_route_while_it_is_served() -> None:
    part = msgspec.structs.replace(CANARY, threshold=-0.4)
    assert route_of([part], str).threshold == -0.4
    assert route_of([msgspec.structs.replace(part, state="off")], str).threshold is None
