"""Requests whose tools are decoded once."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.canonical import loads
from tutelage.traffic.errors import BadInput
from tutelage.traffic.tool_lists import ToolList, load_request

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["tools", "messages", "model", "x"]), VALUES))
def test_the_value_is_the_same_whatever_the_body_holds(body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    assert load_request(raw) == loads(raw)
    assert list(load_request(raw)) == list(body)


@pytest.mark.parametrize("raw", [b'{"tools":[1],"a":1e999}', b'{"tools":["\\ud800"]}', b'\xef\xbb\xbf{"tools":[]}'])
def test_what_only_the_lenient_parser_reads(raw: bytes) -> None:
    assert load_request(raw) == loads(raw)


@pytest.mark.parametrize("raw", [b'{"tools":[1,,2]}', b'{"tools":[1]}x', b"", b'{"tools":[1],"a":"\xff"}'])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(BadInput, match="Expected a JSON text"):
        load_request(raw)


def test_equal_tools_are_one_object_and_doubled_keys_keep_the_last() -> None:
    first, second = load_request(b'{"tools":[{"a":1}],"n":1}'), load_request(b'{"n":2,"tools":[{"a":1}]}')
    assert isinstance(first["tools"], ToolList)
    assert first["tools"] is second["tools"]
    assert load_request(b'{"tools":[1],"tools":[2]}') == {"tools": [2]}


def test_very_long_tools_are_not_kept() -> None:
    raw = json.dumps({"tools": ["x" * 70_000]}).encode()
    assert not isinstance(load_request(raw)["tools"], ToolList)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"n":1,"tools":[{"known":"tools"}],"messages":[]}',
        b'{"tools": [{"known":"tools"}] , "n":2}',
        b'{"messages":[{"tools":[{"known":"tools"}]}],"n":1}',
        b'{"messages":[{"tools":[{"known":"tools"}]}],"tools":null}',
        b'{"a\\"tools":[{"known":"tools"}],"n":1}',
        b'{"tools":[{"known":"tools"}],"tools":[2]}',
        b'{"tools":[2],"tools":[{"known":"tools"}]}',
        b'["tools",{"tools":[{"known":"tools"}]}]',
        b'{"x":"\\"tools\\":[{\\"known\\":\\"tools\\"}]","tools":[{"known":"tools"}]}',
    ],
)
def test_known_tools_are_stepped_over_only_where_they_are_the_requests_own(raw: bytes) -> None:
    known = load_request(b'{"tools":[{"known":"tools"}]}')["tools"]
    assert load_request(raw) == loads(raw)
    if isinstance(loads(raw), dict) and loads(raw).get("tools") == known:
        assert load_request(raw)["tools"] is known


@pytest.mark.parametrize("raw", [b'{"x":"a,"tools":[{"known":"tools"}]}', b'{"tools":[{"known":"tools"}]x}'])
def test_known_tools_make_nothing_valid(raw: bytes) -> None:
    load_request(b'{"tools":[{"known":"tools"}]}')
    with pytest.raises(BadInput):
        load_request(raw)
