"""Two answers in words: what may differ, and what may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.texts import compare_texts, normalise


@pytest.mark.parametrize(
    ("theirs", "ours", "why"),
    [
        ("The light is on.", "the light  is on", ""),
        ("It’s done!", "It's done.", ""),
        ("cafe\u0301", "caf\u00e9", ""),
        ("It is 1.5 degrees.", "It is 15 degrees.", "numbers"),
        ("It is -5 degrees.", "It is 5 degrees.", "numbers"),
        ("It is −5 degrees.", "It is -5 degrees.", ""),
        ("5² metres", "52 metres", "numbers"),
        ("It costs 1,000 euros.", "It costs 1000 euros.", "unsure"),
        ("It costs 1,000 euros.", "It costs 100 euros.", "numbers"),
        ("The door is locked.", "The door is not locked.", "negation"),
        ("It can be done.", "It can't be done.", "negation"),
        ("Shall I do it?", "Shall I do it.", "unsure"),
        ("Order AB-12 is sent.", "Order AB-13 is sent.", "ids"),
        ("The code is aB3.", "The code is AB3.", "ids"),
        ("Due 2024-01-05.", "Due 2024-01-06.", "dates"),
        ("See https://a.example/x.", "See https://a.example/y.", "urls"),
        ("The lamp glows.", "The lamp is lit.", "unsure"),
        ('{"a": 1, "b": [2]}', '{ "b": [2.0], "a": 1 }', ""),
        ('{"A": 1}', '{"a": 1}', "json"),
        ('{"a": "1.5"}', '{"a": "15"}', "json"),
        ("[1, 2]", "[2, 1]", "json"),
        ("{not json", "{not json", ""),
        ("Yes", "", "unsure"),
        ("Due 5 June 2024.", "It is due on 2024-06-05.", "unsure"),
        ("Due June 5th, 2024.", "Due 5 June 2025.", "dates"),
        ("Due June 5.", "Due July 5.", "dates"),
        ("Due 05/06/2024.", "Due 06/05/2024.", "dates"),
        ("See you at 3 pm.", "See you at 15:00.", "unsure"),
        ("See you at 3:30 p.m.", "See you at 3:30 am.", "times"),
        ("At 10:30.", "At 10:31.", "times"),
        ("I turned on 2 lights.", "I turned on two lights.", "unsure"),
        ("I turned on 2 lights.", "I turned on three lights.", "numbers"),
        ("I turned on two lights.", "I turned on both lights.", "unsure"),
        ("There is 1 light.", "There is a light.", "unsure"),
        ("-5 or 5", "5 or 5", "numbers"),
        ("5 June", "5 of them, June said", "dates"),
        ("It is 14:00 am", "It is 14:00 pm", "unsure"),
    ],
)
def test_compare_texts(theirs: str, ours: str, why: str) -> None:
    assert compare_texts(theirs, ours) == why


@given(st.text())
def test_a_text_equals_itself(text: str) -> None:
    assert compare_texts(text, text) == ""


@given(st.text(max_size=30), st.text(max_size=30))
def test_the_order_does_not_matter(one: str, other: str) -> None:
    assert compare_texts(one, other) == compare_texts(other, one)


@given(st.from_regex(r"-?\d{1,4}(\.\d{1,3})?", fullmatch=True), st.from_regex(r"-?\d{1,4}(\.\d{1,3})?", fullmatch=True))
def test_different_numbers_never_pass(one: str, other: str) -> None:
    if float(one) != float(other):
        assert compare_texts(f"It is {one} degrees.", f"It is {other} degrees.") == "numbers"


@given(st.text())
def test_normalise_keeps_digits_and_signs_in_place(text: str) -> None:
    kept = [character for character in normalise(text) if character.isdigit() or character in "+?"]
    assert kept == [character for character in normalise(normalise(text)) if character.isdigit() or character in "+?"]
