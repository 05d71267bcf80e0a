"""The geometry of the charts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.chart import (
    HEIGHT,
    MOST_POINTS,
    SPANS,
    SPARK_HEIGHT,
    WIDTH,
    Span,
    chart_of,
    linear_plot,
    log_plot,
    nice,
    sparkline,
)
from tutelage.traffic.queries import TrafficPoint

HOUR = Span("hour", 60.0, 60, "%H:%M")
NOW = 59 * 60.0 + 30


def points_of(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in text.split())]


@given(
    st.lists(st.tuples(st.integers(0, 59), st.sampled_from(["teacher", "student", "none"]), st.integers(1, 500))),
    st.booleans(),
)
def test_bars_stay_in_the_drawing_and_add_up(rows: list[tuple[int, str, int]], shares: bool) -> None:
    points = [TrafficPoint(60.0 * minute, route, calls, 0, 0, 0) for minute, route, calls in rows]
    chart = chart_of(points, HOUR, NOW, shares)
    for bar in chart.bars:
        assert 0 <= bar.x < bar.x + bar.width <= WIDTH
        assert sum(part.height for part in bar.parts) <= HEIGHT + 0.1
        assert min(part.y for part in bar.parts) >= -0.1
        if shares:
            assert sum(part.height for part in bar.parts) == pytest.approx(HEIGHT, abs=0.1)
    assert len(chart.bars) == len({minute for minute, _, _ in rows})


def test_calls_outside_the_span_are_left_out() -> None:
    assert chart_of([TrafficPoint(-60.0, "teacher", 5, 0, 0, 0)], HOUR, NOW).bars == ()


@pytest.mark.parametrize("name", SPANS)
def test_the_newest_bar_holds_the_present(name: str) -> None:
    span, now = SPANS[name], 1_800_000_123.0
    begin = span.start(now) + (span.steps - 1) * span.step_s
    assert begin <= now < begin + span.step_s
    assert len(chart_of([TrafficPoint(begin, "student", 1, 0, 0, 0)], span, now).bars) == 1


@given(st.integers(0, 10**9))
def test_the_top_is_round_and_high_enough(largest: int) -> None:
    top = nice(largest)
    assert top >= largest
    assert str(top).rstrip("0") in ("1", "2", "5")


@given(st.lists(st.floats(-1e3, 700), min_size=1, max_size=1000))
def test_a_log_plot_stays_in_the_drawing(values: list[float]) -> None:
    plot = log_plot(values, [(3.0, "proof", "good"), (-2.3, "low", "bad")], "sessions", "wealth")
    drawn = points_of(plot.points)
    assert all(0 <= x <= WIDTH and -0.01 <= y <= HEIGHT + 0.01 for x, y in drawn)
    assert all(0 <= level.y <= HEIGHT for level in plot.levels)
    assert len(drawn) <= MOST_POINTS + 2


def test_a_line_is_above_a_level_exactly_when_the_value_is() -> None:
    plot = log_plot([0.0, 1.0, 3.5], [(3.0, "proof", "good")], "sessions", "wealth")
    heights = [y for _, y in points_of(plot.points)]
    assert [y < plot.levels[0].y for y in heights] == [False, False, True]
    assert plot.ticks[0].label == "1"
    assert math.isclose(plot.ticks[0].y, heights[0])


def test_the_highest_point_of_a_long_line_is_drawn() -> None:
    values = [0.0] * 5_000
    values[2_345] = 2.0
    plot = log_plot(values, [], "sessions", "wealth")
    assert min(y for _, y in points_of(plot.points)) == pytest.approx(HEIGHT * 0.3 / 2.3, abs=0.1)


def test_a_linear_plot_begins_at_nought() -> None:
    plot = linear_plot([2.0, 1.0, 0.0], "steps", "loss")
    assert points_of(plot.points)[-1] == (WIDTH, HEIGHT)
    assert plot.ticks[0].label == "0"


@given(st.lists(st.integers(0, 10**6), max_size=60))
def test_a_sparkline_is_inside_or_absent(counts: list[int]) -> None:
    text = sparkline(counts)
    assert bool(text) == any(counts)
    assert all(0 <= y <= SPARK_HEIGHT for _, y in points_of(text))
