"""The chart's geometry, and numbers for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.chart import HEIGHT, WIDTH, chart_of, clock, count, money, nice, size
from tutelage.traffic.queries import TrafficPoint


@given(st.lists(st.tuples(st.integers(0, 59), st.sampled_from(["teacher", "student", "none"]), st.integers(1, 500))))
def test_bars_stay_in_the_drawing_and_add_up(rows: list[tuple[int, str, int]]) -> None:
    points = [TrafficPoint(60.0 * minute, route, calls, 0, 0, 0) for minute, route, calls in rows]
    chart = chart_of(points, 0.0, 60)
    for bar in chart.bars:
        assert 0 <= bar.x < bar.x + bar.width <= WIDTH
        assert sum(part.height for part in bar.parts) <= HEIGHT + 0.1
        assert min(part.y for part in bar.parts) >= -0.1
    assert len(chart.bars) == len({minute for minute, _, _ in rows})


def test_calls_outside_the_span_are_left_out() -> None:
    assert chart_of([TrafficPoint(-60.0, "teacher", 5, 0, 0, 0)], 0.0, 60).bars == ()


@given(st.integers(0, 10**9))
def test_the_top_is_round_and_high_enough(largest: int) -> None:
    top = nice(largest)
    assert top >= largest
    assert str(top).rstrip("0") in ("1", "2", "5")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (count(0), "0"),
        (count(12_345), "12,345"),
        (count(-1_200), "-1,200"),
        (count(123_456), "123 k"),
        (count(1_250_000), "1.2 M"),
        (money(None), "unknown"),
        (money(0.0), "$0.00"),
        (money(0.0012), "$0.0012"),
        (money(-12.345), "−$12.35"),
        (size(0), "0 B"),
        (size(1_500), "1.5 kB"),
        (size(2.5e9), "2.5 GB"),
        (clock(60.0, 100.0), "00:01:00"),
        (clock(60.0, 200_000.0), "Jan 01"),
    ],
)
def test_numbers_for_people(text: str, shown: str) -> None:
    assert text == shown
