"""Walking conversations: every text is seen, and JSON stays JSON."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.walk import json_inside, keys, leaves, rewrite, schema_words

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CALL: dict[str, Any] = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "f", "arguments": '{"to": {"name": "x"}}'},
}


def same(text: str, path: tuple[str, ...]) -> str:
    return text


@given(json_values)
def test_exchanging_nothing_changes_nothing(value: object) -> None:
    assert rewrite(value, same, frozenset()) is value


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=3))
def test_json_inside_a_text_stays_json(value: dict[str, object]) -> None:
    text = json.dumps(value)
    after = rewrite(text, lambda leaf, path: leaf.replace("a", "b"), frozenset(value), (), False)
    assert json_inside(after) is not None


def test_leaves_know_their_path_and_skip_protocol_ids() -> None:
    found = list(leaves([{"role": "tool", "tool_call_id": "t", "content": '{"who": {"name": "anna"}, "id": "x"}'}]))
    assert [(leaf.text, leaf.path, leaf.field) for leaf in found] == [
        ("anna", ("who", "name"), "name"),
        ("x", ("id",), "id"),
    ]
    assert [leaf.text for leaf in leaves(CALL)] == ["f", "x"]


def test_the_path_is_handed_to_the_exchange() -> None:
    seen: list[tuple[str, ...]] = []

    def note(text: str, path: tuple[str, ...]) -> str:
        seen.append(path)
        return text

    rewrite([{"role": "assistant", "content": "hi", "tool_calls": [CALL]}], note, frozenset())
    assert ("to", "name") in seen


def test_a_text_is_written_as_it_was() -> None:
    for text in ('{"a":"x","b":[1,2]}', '{"a": "x", "b": [1, 2]}', json.dumps({"a": "x", "b": [1, 2]}, indent=2)):
        assert rewrite(text, lambda leaf, path: leaf.replace("x", "y"), frozenset()) == text.replace('"x"', '"y"')


def test_an_empty_text_makes_numbers_zero() -> None:
    assert rewrite([12, 1.5, "t"], lambda leaf, path: "", frozenset()) == [0, 0.0, ""]


def test_two_keys_that_become_one_lose_no_value() -> None:
    after = rewrite('{"ab": 1, "cd": 2}', lambda leaf, path: "z" if leaf in ("ab", "cd") else leaf, frozenset())
    assert sorted(json.loads(after).values()) == [1, 2]


def test_keys_inside_texts_are_told() -> None:
    assert list(keys([{"role": "tool", "content": '{"a@b.de": {"c": 1}}'}])) == ["a@b.de", "c"]


def test_schema_words() -> None:
    parameters = {"type": "object", "properties": {"to": {"enum": ["desk", "customer"]}, "how": {"const": "fast"}}}
    words = schema_words([{"type": "function", "function": {"name": "send", "parameters": parameters}}])
    assert words == {"send", "to", "desk", "customer", "how", "fast"}
