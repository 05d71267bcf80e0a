"""Numbers for people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.figures import ago, clock, count, duration, measured, millis, moment, money, of, short, size


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
        (moment(0.0), "–"),
        (moment(86_400.0), "1970-01-02 00:00:00"),
        (ago(None, 5.0), "never"),
        (ago(100.0, 112.0), "12 s ago"),
        (duration(0.25), "0.2 s"),
        (duration(300.0), "5 min"),
        (duration(3 * 3_600.0), "3 h"),
        (duration(4 * 86_400.0), "4 d"),
        (millis(None), "–"),
        (millis(0.42), "0.4 ms"),
        (millis(312.4), "312 ms"),
        (millis(4_200), "4.2 s"),
        (of(3, 25), "12% (3 of 25)"),
        (of(0, 0), "–"),
        (short("one\n two  three", 9), "one two …"),
    ],
)
def test_numbers_for_people(text: str, shown: str) -> None:
    assert text == shown


def test_without_data_there_is_no_figure() -> None:
    shown = measured(None, 0.0, 1.0, 0, 0.05)
    assert (shown.figure, shown.bar) == ("–", None)
    assert "n = 0" in shown.interval


@given(
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(sorted),
    st.integers(1, 10**6),
    st.one_of(st.none(), st.floats(0.001, 1)),
)
def test_an_interval_is_always_beside_the_figure_and_drawn_inside(
    ends: list[float], n: int, limit: float | None
) -> None:
    low, value, high = ends
    shown = measured(value, low, high, n, limit)
    assert f"n = {n:,}" in shown.interval
    assert shown.bar is not None
    assert 0 <= shown.bar.low <= shown.bar.point <= shown.bar.high <= 100
    assert (shown.bar.tone == "good") == (limit is not None and high < limit)
