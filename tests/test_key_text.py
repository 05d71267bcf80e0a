"""The form of keys: what was mistyped is told apart from what nobody made."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.key_text import LENGTH, PREFIX, form_fault, hash_of, new_key

KEY = new_key()
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def test_keys_have_the_documented_form_and_are_new_each_time() -> None:
    made = {new_key() for _ in range(200)}
    assert len(made) == 200
    assert {len(key) for key in made} == {LENGTH} == {6 + 43 + 6}
    assert all(key.startswith(PREFIX) and set(key[6:]) <= set(LETTERS) and not form_fault(key) for key in made)


def test_the_check_characters_are_those_of_the_documentation() -> None:
    assert form_fault("sk-tu-" + "A" * 43 + "DCtZhg") == ""


@given(position=st.integers(6, LENGTH - 1), letter=st.sampled_from(LETTERS))
def test_one_wrong_character_is_found(position: int, letter: str) -> None:
    typed = KEY[:position] + letter + KEY[position + 1 :]
    assert bool(form_fault(typed)) is (typed != KEY)


@given(position=st.integers(6, LENGTH - 2))
def test_two_characters_that_changed_places_are_found(position: int) -> None:
    typed = KEY[:position] + KEY[position + 1] + KEY[position] + KEY[position + 2 :]
    assert bool(form_fault(typed)) is (typed != KEY)


@given(st.text())
def test_any_other_text_has_a_fault(text: str) -> None:
    assert form_fault(text)
    assert form_fault(PREFIX + text)


@pytest.mark.parametrize(
    ("typed", "words"),
    [(KEY[:-1], "54 characters instead of 55"), (KEY[:-1] + "!", "characters that no key has")],
    ids=["short", "strange"],
)
def test_the_fault_is_named(typed: str, words: str) -> None:
    assert words in form_fault(typed)


def test_the_hash_is_plain_sha_256() -> None:
    assert hash_of(KEY) == hashlib.sha256(KEY.encode()).hexdigest()
    assert hash_of("\udcff") != hash_of("\udcfe")
