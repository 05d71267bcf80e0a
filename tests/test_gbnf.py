"""Literals, sets and repetitions mean what they say, whatever characters are in them."""

import random

import pytest
from gbnf_reader import Grammar
from hypothesis import given
from hypothesis import strategies as st

from tutelage.serving.gbnf import Rules, characters, literal, one_of, plain, repeated


def grammar(root: str, **others: str) -> Grammar:
    rules = Rules()
    for name, body in {**others, "root": root}.items():
        rules.put(name, body)
    return Grammar(rules.written())


@given(st.text(alphabet='ab"\\\n\r[]^-|(){}*é😀', max_size=12))
def test_a_literal_is_its_text_alone(text: str) -> None:
    read = grammar(literal(text) + ' "."')
    assert read.draw(random.Random(0)) == text + "."
    assert not read.accepts(text)


@given(st.sets(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6), st.characters())
def test_a_set_holds_its_characters_and_no_other(chars: set[str], other: str) -> None:
    read = grammar(characters(tuple((ord(char), ord(char)) for char in sorted(chars))))
    assert all(read.accepts(char) for char in chars)
    assert read.accepts(other) is (other in chars)


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1), (3, 3), (2, 31), (0, 64), (5, 70), (0, 100), (900, 1024)])
def test_a_repetition_has_every_length_in_between_and_no_other(low: int, high: int) -> None:
    read = grammar(repeated("x", low, high), x='"x"')
    lengths = {0, max(0, low - 1), low, (low + high) // 2, max(0, high - 1), high, high + 1}
    assert {n for n in lengths if read.accepts("x" * n)} == {n for n in lengths if low <= n <= high}


def test_long_repetitions_take_few_rules() -> None:
    """llama.cpp writes `{0,n}` out as n rules."""
    assert repeated("x", 0, 1024) == "(x{32}){0,31} x{0,32}"


def test_equal_rules_share_a_name() -> None:
    rules = Rules()
    assert rules.add("a", '"x"') == rules.add("b", '"x"') != rules.add("a", '"y"')
    assert one_of(["a", "a"]) == "a"
    assert one_of(["a", "b"]) == "(a | b)"


@given(st.integers(0, 40), st.integers(0, 200), st.integers(-2, 2))
def test_blocks_written_as_one_repetition_mean_the_same(low: int, more: int, beside: int) -> None:
    rules = Rules()
    rules.put("x", '"x"')
    rules.put("root", repeated("x", low, low + more))
    assert "(" not in plain(rules.written().split("root ::=")[1])
    for count in (low + beside, low + more + beside):
        assert Grammar(plain(rules.written())).accepts("x" * max(0, count)) == (low <= max(0, count) <= low + more)


def test_what_looks_like_blocks_in_a_text_stays() -> None:
    text = 'root ::= "(char{32}){0,3} char{0,40}" [(char{32}){0,3}] "\\"" (char{32}){0,3} char{0,40}\n'
    assert plain(text) == text.replace("(char{32}){0,3} char{0,40}\n", "char{0,136}\n")
