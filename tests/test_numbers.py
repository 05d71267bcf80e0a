"""Numbers between bounds: the grammar and the plain comparison agree."""

import json
import random
from typing import Any

import pytest
from gbnf_reader import Grammar
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft202012Validator

from tutelage.serving.gbnf import Impossible, Rules
from tutelage.serving.numbers import integer, number

BOUND = st.integers(-3000, 3000) | st.sampled_from([-(10**6), 0, 1, 99, 100, 10**6])


def grammar(schema: dict[str, Any], kind: Any = integer) -> Grammar:
    rules = Rules()
    rules.put("root", kind(schema, rules))
    return Grammar(rules.written())


@given(BOUND, BOUND, BOUND)
def test_integers_are_exact(low: int, high: int, value: int) -> None:
    if low > high:
        with pytest.raises(Impossible, match="no integer"):
            grammar({"minimum": low, "maximum": high})
        return
    read = grammar({"minimum": low, "maximum": high})
    for one in (value, low, high, low - 1, high + 1):
        assert read.accepts(str(one)) is (low <= one <= high), one
    assert not read.accepts("01")


@given(st.sampled_from(["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"]), BOUND, st.randoms())
def test_one_bound_is_enough(name: str, bound: int, rng: random.Random) -> None:
    schema = {"type": "integer", name: bound}
    read = grammar(schema)
    for step in (-1, 0, 1):
        assert read.accepts(str(bound + step)) is Draft202012Validator(schema).is_valid(bound + step)
    assert Draft202012Validator(schema).is_valid(json.loads(read.draw(rng)))


@given(BOUND, BOUND, st.randoms(use_true_random=False))
def test_decimals_between_integers_are_exact(low: int, high: int, rng: random.Random) -> None:
    low, high = min(low, high), max(low, high)
    read = grammar({"minimum": low, "maximum": high}, number)
    for _ in range(5):
        assert low <= json.loads(read.draw(rng)) <= high
    for value in (low, high, low + 0.5, high - 0.25, high + 0.5, low - 0.5):
        assert read.accepts(json.dumps(value)) is (low <= value <= high), value


def test_bounds_that_are_no_integers_lose_no_value() -> None:
    read = grammar({"minimum": 0.1, "exclusiveMaximum": 2.5}, number)
    for text in ("0.1", "0.95", "1", "2", "2.49"):
        assert read.accepts(text), text
    for text in ("-0.1", "0", "3", "3.1"):
        assert not read.accepts(text), text


def test_the_flags_of_draft_4() -> None:
    schema = {"minimum": 3, "exclusiveMinimum": True}
    assert not grammar(schema).accepts("3")
    assert grammar(schema).accepts("4")
    assert Draft4Validator(schema).is_valid(4)


@pytest.mark.parametrize("schema", [{"minimum": 2.2, "maximum": 2.8}, {"exclusiveMinimum": 2, "exclusiveMaximum": 3}])
def test_no_integer_in_between(schema: dict[str, Any]) -> None:
    with pytest.raises(Impossible, match="no integer lies between"):
        grammar(schema)
    with pytest.raises(Impossible, match="no number lies between"):
        grammar({"exclusiveMinimum": 2, "maximum": 2}, number)


def test_numbers_without_bounds() -> None:
    assert all(grammar({}).accepts(text) for text in ("0", "-1", "999999999999999"))
    assert all(grammar({}, number).accepts(text) for text in ("0", "-0.5", "3.25", "-17"))
    assert not any(grammar({}, number).accepts(text) for text in ("", ".5", "1.", "1e5", "NaN", "1000000000000000"))
