"""Frames: what differs in nothing but its messages is found, and means what the whole request means."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.canonical import loads
from tutelage.traffic.errors import BadInput
from tutelage.traffic.frames import PER_SAMPLE, Frames
from tutelage.traffic.prefixes import Body, body_of, place_of

split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def body(messages: Any, indent: int | None = None, **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **more}, indent=indent).encode()


def inside(raw: bytes) -> Body:
    """The body as a view into something larger, as journal payloads are."""
    return body_of(memoryview(b"before" + raw + raw)[6 : 6 + len(raw)])


def remember(frames: Frames[str], raw: bytes, content: str, caller: str = "c") -> None:
    place = place_of(body_of(raw), split(raw)["messages"])
    assert place is not None
    frames.remember(caller, body_of(raw), place, content)


def found(frames: Frames[str], raw: bytes, caller: str = "c") -> tuple[str, list[Any]] | None:
    hit = frames.find(caller, inside(raw))
    return hit and (hit[0].content, [json.loads(bytes(one)) for one in hit[1]])


def tools(number: int, size: int) -> list[Any]:
    return [{"name": f"tool_{number}", "description": "x" * size}]


@pytest.mark.parametrize("size", [0, 100, 3_000, 100_000])
def test_other_messages_under_the_same_tools_are_found(size: int) -> None:
    frames: Frames[str] = Frames()
    remember(frames, body([1, 2], tools=tools(1, size)), "one")
    remember(frames, body([1, 2], tools=tools(2, size)), "two")
    assert found(frames, body([3], tools=tools(1, size))) == ("one", [3])
    assert found(frames, body(["]}", {"messages": [0]}], tools=tools(2, size))) == ("two", ["]}", {"messages": [0]}])
    assert found(frames, body([3], tools=tools(3, size))) is None
    assert found(frames, body([3], tools=tools(1, size)), "another") is None


def test_what_is_no_whole_list_of_messages_is_not_found() -> None:
    frames: Frames[str] = Frames()
    raw = body([1], temperature=0)
    remember(frames, raw, "known")
    others = [raw.replace(b"[1]", new) for new in (b"[]", b"[1,]", b"[1][2]", b"[1, 2", b'[1], "a": [2]', b"7")]
    others += [body([1], temperature=1), b"", b"{", raw[:-1], raw + b" "]
    assert [found(frames, other) for other in others] == [None] * len(others)


def test_memory_is_bounded() -> None:
    frames: Frames[str] = Frames(budget=10_000)
    for number in range(50):
        remember(frames, body([1], tools=tools(number, 1_000 + 100 * number)), str(number), caller=str(number))
    kept = [n for n in range(50) if found(frames, body([2], tools=tools(n, 1_000 + 100 * n)), str(n))]
    assert 1 <= len(kept) <= 9
    assert kept == list(range(50 - len(kept), 50))
    alike: Frames[str] = Frames()
    for number in range(100):
        remember(alike, json.dumps({"model": str(number), "messages": [1]}).encode(), str(number))
    kept = [n for n in range(100) if found(alike, json.dumps({"model": str(n), "messages": [1]}).encode())]
    assert kept == list(range(100 - PER_SAMPLE, 100))


leaf = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["]", '"', '],"messages":[', "\\"])
value = st.recursive(leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
text = st.sampled_from([" ", "1", ",", "]", "[", "{", "}", '"a"', ":", '"messages"', '"]"', "\\", "null"])


@given(
    st.lists(value, min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["tools", "temperature", "a"]), value),
    st.sampled_from([None, 1]),
    st.lists(text, max_size=8).map("".join),
    st.booleans(),
)
def test_the_frame_reads_as_the_whole_body_does(
    first: list[Any], more: dict[str, Any], indent: int | None, middle: str, twice: bool
) -> None:
    """Whatever stands in place of the messages: it is found as the list that the whole body has, or not at all."""
    raw = body(first, indent, **more)
    if twice:
        raw = raw[:-1] + b', "messages": ' + json.dumps(first).encode() + b"}"
    frames: Frames[str] = Frames()
    remember(frames, raw, "known")
    place = place_of(body_of(raw), split(raw)["messages"])
    assert place is not None
    other = raw[: place.start + 1] + middle.encode() + raw[place.stop - 1 :]
    hit = found(frames, other)
    try:
        whole = loads(other)
    except BadInput:
        assert hit is None
        return
    if hit is not None:
        assert hit[1] == whole["messages"]
        assert {**whole, "messages": 0} == {**loads(raw), "messages": 0}
