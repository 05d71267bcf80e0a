"""Which feedback is accepted, and what the sender of any other is told."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.errors import BadInput
from tutelage.traffic.feedback import Given, parse

GOOD: dict[str, Any] = {"metric": "success", "value": True, "trajectory": "run 1"}


def parsed(**fields: Any) -> Given:
    """GOOD with these fields; None leaves one out."""
    body = {name: value for name, value in {**GOOD, **fields}.items() if value is not None}
    return parse(json.dumps(body).encode())


@pytest.mark.parametrize("value", [True, False, 0, -1.5, 3, "fine", "", "true"])
def test_values_keep_their_type(value: bool | float | str) -> None:
    found = parsed(value=value).value
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("kind", ["call_id", "trajectory", "last_of"])
def test_each_kind_of_target(kind: str) -> None:
    assert parsed(**{"trajectory": None, kind: "c 1"}).target == (kind, "c 1")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"trajectory": None}, "exactly one of call_id, trajectory, last_of; none of them came"),
        ({"call_id": "c"}, "call_id and trajectory came"),
        ({"trajectory": "  "}, "'trajectory' must not be empty"),
        ({"metric": ""}, "'metric' must not be empty"),
        ({"metric": None}, "metric"),
        ({"value": None}, "value"),
        ({"value": [1]}, "value"),
        ({"metric": 7}, "metric"),
        ({"metrics": "typo"}, "metrics"),
        ({"metric": "m" * 201}, "at most 200 characters, not 201"),
        ({"id": "m" * 201}, "at most 200 characters, not 201"),
        ({"value": "m" * 10_001}, "at most 10000 characters"),
        ({"comment": "m" * 10_001}, "at most 10000 characters"),
        ({"value": 10**400}, "double-precision"),
        ({"source": "verifier:mine"}, "the verifiers'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_does_not_fit_is_refused_with_the_reason(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match="(?s)" + words.replace("(", r"\(")):
        parsed(**fields)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b'{"metric": "\xff"}', b'{"metric": "\\ud800"}', b"[" * 9999]
)
def test_no_json_object(body: bytes) -> None:
    with pytest.raises(BadInput, match="does not fit"):
        parse(body)


@given(
    st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from(["metric", "value", "call_id", "id"]),
        st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_body_is_read_or_refused(body: bytes) -> None:
    try:
        found = parse(body)
    except BadInput:
        return
    assert found.metric.strip()
    assert found.target[0] in ("call_id", "trajectory", "last_of")
