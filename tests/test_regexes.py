"""Patterns: what is drawn from the grammar matches the expression; what cannot be said is refused with the reason."""

import json
import random
import re

import pytest
from gbnf_reader import Grammar
from hypothesis import assume, given
from hypothesis import strategies as st

from tutelage.serving.gbnf import Impossible, Rules
from tutelage.serving.regexes import string_pattern


def grammar(expression: str, longest: int = 1024) -> Grammar:
    rules = Rules()
    rules.put("root", string_pattern(expression, rules, longest))
    return Grammar(rules.written())


def inside(text: str) -> str:
    """The text as it stands in a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


@pytest.mark.parametrize(
    ("expression", "good", "bad"),
    [
        (r"^[A-Z]{3}-\d{2,4}$", ["ABC-12", "XYZ-1234"], ["ABC-1", "abc-12", "ABC-12345"]),
        (r"^(red|green)$", ["red", "green"], ["redgreen", ""]),
        (r"^a|b$", ["a", "axx", "b", "xb"], ["xax", "bx"]),
        (r"ab", ["ab", "xxabyy"], ["a", "ba"]),
        (r"^\+?[0-9 ()\-]{4,}$", ["+49 (0)30-1", "1234"], ["12", "+12a4"]),
        (r"^(?:[a-z0-9]+\.)+[a-z]{2,}$", ["a.bc", "x.y.zz"], ["abc", ".bc"]),
        (r"^(?<year>\d{4})(?P<rest>x?)$", ["2024", "2024x"], ["24"]),
        (r'^["\\\n]+$', ['"', "\\", '\\"\n'], ["a", ""]),
        (r"^[^\d\s]$", ["a", "_"], ["1", " ", ""]),
        (r"^\x41\u00e9\/\.$", ["Aé/."], ["Aéx."]),
        (r"^[\w.-]*$", ["", "a.b-c_9"], ["a b", "é"]),
        (r"^.$", ["x", "é", "😀", '"'], ["\n", "xy"]),
        (r"^x{2}y{0,1}z{1,}?$", ["xxz", "xxyzz"], ["xz", "xxyy"]),
        (r"^{}$", ["{}"], ["{"]),
        ("", ["", "anything"], []),
    ],
)
def test_what_matches(expression: str, good: list[str], bad: list[str]) -> None:
    read = grammar(expression)
    for text in good:
        assert read.accepts(inside(text)), text
    for text in bad:
        assert not read.accepts(inside(text)), text


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        (r"^(?!x)a$", "looks ahead"),
        (r"^(a)\1$", r"uses \\1"),
        (r"\bword\b", r"uses \\b"),
        (r"^\p{L}+$", r"uses \\p"),
        (r"^(^a)$", "nothing can be meant"),
        (r"^(a$)b$", "inside a group"),
        (r"^a$b", "before its end"),
        (r"^(a*)*$", "may be empty"),
        (r"^a**$", "repeats a repetition"),
        (r"^a{5000}$", "times"),
        (r"^[a-z]{900}$", "900 characters"),
        (r"^(a$", "inside a group"),
        (r"^(a", "without an end"),
        (r"^[a", "breaks off"),
        (r"^[z-a]$", "a range that is none"),
        (r"^a)$", "stray"),
        (r"^[\x00]$", "cannot hold"),
        ("^" + "(" * 3000, "1000"),
        ("^" + "(" * 900, "without an end|too deeply"),
    ],
)
def test_what_no_grammar_can_say(expression: str, why: str) -> None:
    with pytest.raises(Impossible, match=why):
        grammar(expression, longest=500)


def test_repetitions_without_an_end_are_cut_at_the_length_that_is_left() -> None:
    read = grammar(r"^[a-z]+@[a-z]+$", longest=20)
    assert read.accepts("abcd@efgh")
    assert not read.accepts("a" * 19 + "@b")


_ATOM = st.sampled_from(
    ["a", "é", r"\d", r"\w", r"\W", r"[a-c]", r"[^ab]", r"[^\s]", ".", r"\.", '"', r"\\", r"\n", "-"]
)
_EXPRESSION = st.recursive(
    _ATOM,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["+", "*", "?", "{2}", "{1,3}", "{2,}"])).map(lambda p: f"(?:{p[0]}){p[1]}"),
    ),
    max_leaves=6,
)


@given(_EXPRESSION, st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_what_is_drawn_matches(expression: str, start: bool, end: bool, rng: random.Random) -> None:
    expression = "^" * start + expression + "$" * end
    try:
        read = grammar(expression, longest=200)
    except Impossible:
        assume(False)
        return
    for _ in range(3):
        text = json.loads(f'"{read.draw(rng)}"')
        assert re.search(expression, text), text
