"""Facts in a text, each in one way of writing."""

from collections import Counter
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.text_facts import facts_of, first_difference, numbers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("turn to 1.5", ["1.5"]),
        ("-5 and +5", ["-5", "5"]),
        ("3-5 items", ["3", "5"]),
        ("1,000.50", ["1000.5"]),
        ("x=-3, (.5)", ["-3", ".5"]),
        ("10:30", ["10", "30"]),
        ("none", []),
    ],
)
def test_numbers(text: str, found: list[str]) -> None:
    assert numbers(text) == found


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("5 June 2024", "dates", ["2024-06-05"]),
        ("the 5th of june, 2024", "dates", ["2024-06-05"]),
        ("Sept. 5 2024", "dates", ["2024-09-05"]),
        ("May 5", "dates", ["--05-05"]),
        ("may 55 be", "dates", []),
        ("2024-06-05T10:00:00+02:00", "dates", ["2024-06-05T08:00:00+00:00"]),
        ("1.2.2024 and 1/2/24", "dates", ["1.2.2024", "1/2/24"]),
        ("12 am, 12 pm, 9:05", "times", ["00:00", "12:00", "09:05"]),
        ("10:30:15 PM", "times", ["22:30:15"]),
        ("25:10 or 10:75", "times", []),
        ("AB-12, a1b2 and #x", "ids", ["AB-12", "a1b2", "#x"]),
        ("see https://a.example/x.", "urls", ["https://a.example/x"]),
        ("two of twelve", "said", ["2", "12"]),
        ("on 2024-06-05 at 10:30", "numbers", []),
        ("it isn't, and never was", "negation", ["not", "not"]),
    ],
)
def test_facts(text: str, kind: str, expected: list[str]) -> None:
    assert getattr(facts_of(text), kind) == Counter(expected)


@given(st.text(), st.text())
def test_any_text_has_facts_and_differing_is_symmetric(one: str, other: str) -> None:
    first, second = facts_of(one), facts_of(other)
    assert first_difference(first, first) == ""
    assert first_difference(first, second) == first_difference(second, first)


@given(st.dates().map(lambda day: day.replace(year=max(day.year, 1000))))
def test_a_day_is_the_same_however_it_is_written(day: date) -> None:
    forms = ("%Y-%m-%d", "%d %B %Y", "%B %d, %Y", "%b %d %Y")
    written = {tuple(facts_of(format(day, form)).dates) for form in forms}
    assert written == {(str(day),)}
