"""When a run is due, as a table."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.options import ScheduleOptions
from tutelage.distill.schedule import Due, Entry, Need, Wait, decide, fold, hours, in_window, left, needed
from tutelage.traffic.errors import BadInput

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
NOW = NOON.timestamp()
OPTIONS = ScheduleOptions(new_sessions=200, pause_h=6, budget_h=8)


def need(**fields: Any) -> Need:
    values: dict[str, Any] = {"agent_id": "a_1", "name": "Desk", "sessions": 500, "new_sessions": 0, "version": "d@1"}
    more: dict[str, Any] = {"lost": [], "unknown": []}
    return Need(**(values | more | fields))


def entry(hours_ago: float, took_h: float | None = 1.0, **fields: Any) -> Entry:
    at = NOW - hours_ago * 3_600
    ended = None if took_h is None else at + took_h * 3_600
    values: dict[str, Any] = {"agent_id": "a_1", "reason": "sessions: 200 new ones", "export": "/e", "ended_at": ended}
    more: dict[str, Any] = {"outcome": "registered" if ended else ""}
    return Entry(at, **(values | more | fields))


@pytest.mark.parametrize(
    ("needs", "reason"),
    [
        ([need(version="", sessions=29)], ""),
        ([need(version="", sessions=30, new_sessions=30)], "first: 30 successful sessions"),
        ([need(new_sessions=199)], ""),
        ([need(new_sessions=200)], "sessions: 200 new ones"),
        ([need(lost=["p_1"], new_sessions=29)], ""),
        ([need(lost=["p_1"], new_sessions=30)], "drift: d@1 has lost p_1"),
        ([need(lost=["p_1"], new_sessions=900)], "drift: d@1 has lost p_1"),
        ([need(unknown=["p_2"], new_sessions=30)], "new pattern: p_2"),
        ([], ""),
    ],
)
def test_what_makes_a_run_due(needs: list[Need], reason: str) -> None:
    found = decide(needs, [], OPTIONS, 30, NOON)
    assert found == (Due("a_1", reason) if reason else Wait("nothing new enough to learn from"))


def test_the_agent_with_most_to_learn_from_goes_first() -> None:
    needs = [need(new_sessions=200), need(agent_id="a_2", new_sessions=300)]
    assert decide(needs, [], OPTIONS, 30, NOON)[0] == "a_2"
    # It rests after its last run; the other one does not.
    assert decide(needs, [entry(5, agent_id="a_2")], OPTIONS, 30, NOON)[0] == "a_1"
    found = decide(needs[1:], [entry(5, agent_id="a_2")], OPTIONS, 30, NOON)
    assert found == Wait("a pause after the last run")


def test_a_run_that_was_cut_short_goes_first_with_its_own_sessions() -> None:
    for last in (entry(3, None), entry(3, outcome="stopped")):
        found = decide([need(agent_id="a_2", new_sessions=900)], [entry(9), last], OPTIONS, 30, NOON)
        assert found == Due("a_1", "resumed: sessions: 200 new ones", "/e")
    again = entry(3, outcome="stopped", reason="resumed: drift")
    resumed = decide([], [again], OPTIONS, 30, NOON)
    assert isinstance(resumed, Due)
    assert resumed.reason == "resumed: drift"
    assert decide([], [entry(3, outcome="failed")], OPTIONS, 30, NOON) == Wait("nothing new enough to learn from")


def test_the_days_budget() -> None:
    history = [entry(30, 7), entry(20, 5), entry(4, 3)]
    # Of the first, one hour lies inside the last 24.
    assert hours(history, NOW) == pytest.approx(9)
    assert isinstance(decide([need(new_sessions=900)], history, OPTIONS, 30, NOON), Wait)
    assert left(OPTIONS, history[2:], NOON) == pytest.approx(5 * 3_600)


@pytest.mark.parametrize(
    ("windows", "clock", "inside", "seconds"),
    [
        ((), "12:00", True, 8 * 3_600),
        (("22:00-06:00",), "23:30", True, 6.5 * 3_600),
        (("22:00-06:00",), "05:59", True, 60),
        (("22:00-06:00",), "06:00", False, 0),
        (("12:00-13:00", "13:00-14:00"), "12:30", True, 1.5 * 3_600),
        (("00:00-00:00",), "12:00", True, 8 * 3_600),
    ],
)
def test_windows(windows: tuple[str, ...], clock: str, inside: bool, seconds: float) -> None:
    options = ScheduleOptions(windows=windows, budget_h=8)
    now = NOON.replace(hour=int(clock[:2]), minute=int(clock[3:]))
    assert in_window(options, now) is inside
    assert left(options, [], now) == pytest.approx(seconds)
    if not inside:
        assert "outside" in decide([need(new_sessions=900)], [], options, 30, now)[0]


def test_a_student_that_is_as_good_is_wanted_where_the_one_before_cannot_go_on() -> None:
    assert needed("drift: d@1 has lost p_1") == needed("resumed: drift: d@1 has lost p_1") == "drift: d@1 has lost p_1"
    assert needed("new pattern: p_2") == "new pattern: p_2"
    assert needed("sessions: 200 new ones") == needed("first: 30 successful sessions") == ""


@pytest.mark.parametrize("text", ["22-6", "25:00-26:00", "22:00", "10:61-11:00"])
def test_a_broken_window_is_told(text: str) -> None:
    with pytest.raises(BadInput, match="22:00-06:00"):
        in_window(ScheduleOptions(windows=(text,)), NOON)


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 10)), max_size=6))
def test_hours_never_count_more_than_a_day_of_each(spans: list[tuple[float, float]]) -> None:
    found = hours([entry(ago, took) for ago, took in spans], NOW)
    assert 0 <= found <= 24 * len(spans)
    assert found <= sum(took for _, took in spans) + 1e-6


def test_a_later_line_replaces_the_earlier_one() -> None:
    begun, ended = entry(3, None), entry(3, 1)
    assert fold([entry(9), begun, ended]) == [entry(9), ended]
