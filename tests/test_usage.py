import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.usage import UsageFilter, asks_for_usage, with_usage

USAGE = b'data: {"choices": [ ],"usage":{"total_tokens":4}}'
KEPT = [
    b'data: {"choices":[{"delta":{"content":"\\"choices\\":[]"}}],"usage":null}',
    b'data: {"choices":[],"prompt_filter_results":[{}],"usage":null}',
    b": ping",
    b'event: x\ndata: not json with "choices":[]',
    b"data: [DONE]",
]


@given(
    st.lists(st.sampled_from([*KEPT, USAGE]), max_size=8),
    st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"]),
    st.lists(st.integers(1, 40), max_size=60),
)
def test_only_the_usage_event_goes_however_the_stream_is_cut(events: list[bytes], end: bytes, cuts: list[int]) -> None:
    whole = b"".join(event + end for event in events)
    expected = b"".join(event + end for event in events if event != USAGE)
    usage, got, at = UsageFilter(), b"", 0
    for cut in [*cuts, len(whole) + 1]:
        got += usage.feed(whole[at : at + cut])
        at += cut
    assert got + usage.finish() == expected


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_other_bytes_pass_unchanged(pieces: list[bytes]) -> None:
    usage = UsageFilter()
    got = b"".join([usage.feed(piece) for piece in pieces])
    assert got + usage.finish() == b"".join(pieces)


def test_whole_events_are_not_held() -> None:
    usage = UsageFilter()
    assert usage.feed(b"data: 1\n\ndata: ") == b"data: 1\n\n"
    assert usage.feed(b"2\n\n") == b"data: 2\n\n"


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        ({}, True),
        ({"stream": False}, True),
        ({"stream": True}, False),
        ({"stream": True, "stream_options": None}, False),
        ({"stream": True, "stream_options": {"include_usage": False}}, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True),
    ],
)
def test_who_asks(body: dict[str, Any], asks: bool) -> None:
    assert asks_for_usage(body) is asks


@pytest.mark.parametrize("options", [None, {"include_obfuscation": False}, "odd"])
def test_the_question_joins_what_the_agent_asked(options: Any) -> None:
    body = {"stream": True, "stream_options": options, "x": [1.5]}
    asked = json.loads(with_usage(json.dumps(body).encode(), body))
    assert asked["stream_options"]["include_usage"] is True
    assert asked["x"] == [1.5]


def test_the_agents_bytes_stay_as_they_are() -> None:
    raw = b' {"stream": true, "x": 1.50}'
    assert with_usage(raw, json.loads(raw)) == b' {"stream_options":{"include_usage":true},"stream": true, "x": 1.50}'


def test_text_that_is_not_unicode_is_left_alone() -> None:
    raw = b'{"stream":true,"stream_options":{},"x":"\\ud800"}'
    assert with_usage(raw, json.loads(raw)) == raw
