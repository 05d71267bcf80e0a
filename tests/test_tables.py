"""Tables as CSV."""

import csv
import io
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.tables import FORMULA, as_csv


@dataclass(frozen=True)
class Inner:
    state: str
    share: float | None


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    tags: tuple[str, ...]


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_nested_values_have_columns_and_lists_are_json() -> None:
    rows = read(as_csv([Outer("a", Inner("live", 0.5), ("x", "y"))], Outer))
    assert rows == [["name", "inner.state", "inner.share", "tags"], ["a", "live", "0.5", '["x","y"]']]


def test_without_rows_the_header_is_there() -> None:
    assert read(as_csv([], Inner)) == [["state", "share"]]


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00")))
def test_any_text_survives_and_none_is_a_formula(text: str) -> None:
    [_, [found, _]] = read(as_csv([Inner(text, -1.5)], Inner))
    assert found in (text, f"'{text}")
    assert not found.startswith(FORMULA)


def test_numbers_stay_numbers() -> None:
    assert read(as_csv([Inner("x", -1.5)], Inner))[1] == ["x", "-1.5"]
