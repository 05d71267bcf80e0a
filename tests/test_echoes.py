"""An echo is the same message as the answer; whatever could be another one is not taken for an echo."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.canonical import canonical_message, loads
from tutelage.traffic.echoes import is_echo

SAID = b'{"role":"assistant","content":"Done."}'


def answer(rest: bytes, said: bytes = SAID) -> bytes:
    return said[:-1] + rest + b"}"


@pytest.mark.parametrize(
    "rest",
    [b"", b',"refusal":null', b',"refusal":null,"annotations":[]', b', "annotations": [{"a": 1}], "audio": null'],
)
def test_members_that_say_nothing_may_be_missing(rest: bytes) -> None:
    assert is_echo(SAID, answer(rest))


@pytest.mark.parametrize(
    "rest",
    [
        b',"refusal":"no"',
        b',"refusal":null,"name":"x"',
        b',"tool_calls":[{"id":"c"}]',
        b',"content":null',  # the last one of a name counts
        b',"cont\\u0065nt":null',
        b',"a \\u0022":null',
    ],
)
def test_members_that_count_or_stand_in_both_make_another_message(rest: bytes) -> None:
    assert not is_echo(SAID, answer(rest))


@pytest.mark.parametrize("said", [b'{"refusal":"no","role":"assistant"}', b'{"r\\u0065fusal":"no","role":"assistant"}'])
def test_a_name_in_the_shorter_text_is_found_however_it_is_spelled(said: bytes) -> None:
    assert not is_echo(said, answer(b',"refusal":null', said))


def test_another_answer_with_the_same_beginning_is_no_echo() -> None:
    assert not is_echo(SAID, SAID.replace(b"Done.", b"Done. More?"))
    assert not is_echo(b"{}", answer(b',"refusal":null'))
    assert not is_echo(SAID, b"{}")


names = st.sampled_from(["role", "content", "refusal", "annotations", "name", "tool_calls", "audio", "reasoning"])
values = st.sampled_from([None, "", "x", [], {}, "refusal", '"refusal"', 0, [{"id": "c", "function": {}}]])
members = st.lists(st.tuples(names, values), max_size=5)


def spelled(pairs: list[tuple[str, Any]]) -> bytes:
    return b"{%b}" % ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in pairs).encode()


@given(members, members)
def test_an_echo_has_the_answers_canonical_bytes(said: list[tuple[str, Any]], more: list[tuple[str, Any]]) -> None:
    text, whole = spelled(said), spelled(said + more)
    if is_echo(text, whole):
        assert canonical_message(loads(text)) == canonical_message(loads(whole))
