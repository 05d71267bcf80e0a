"""Requests found by their beginning: the same messages as a full reading gives, or nothing."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.prefixes import PER_KEY, Body, Prefixes, body_of, place_of

KEY = ("caller", "session")
split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def body(messages: list[Any], indent: int | None = None, **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **more}, indent=indent).encode()


def remember(prefixes: Prefixes[str], raw: bytes, content: str) -> None:
    last = place_of(body_of(raw), items(split(raw)["messages"])[-1])
    assert last is not None
    prefixes.remember(KEY, body_of(raw), last.stop, content)


def inside(raw: bytes) -> Body:
    """The body as a view into something larger, as journal payloads are."""
    return body_of(memoryview(b"before" + raw + raw)[6 : 6 + len(raw)])


def found(prefixes: Prefixes[str], raw: bytes) -> tuple[str, list[Any]] | None:
    hit = prefixes.find(KEY, inside(raw))
    return hit and (hit[0].content, [json.loads(bytes(one)) for one in hit[1]])


def test_new_messages_are_found_behind_the_longest_known_request() -> None:
    prefixes: Prefixes[str] = Prefixes()
    remember(prefixes, body([1], temperature=0), "one")
    hit = prefixes.find(KEY, inside(body([1, 2], temperature=0)))
    assert hit is not None
    prefixes.extend(KEY, hit[0], inside(body([1, 2], temperature=0)), "two")
    assert found(prefixes, body([1, 2, {"a": "]}"}], temperature=0)) == ("two", [{"a": "]}"}])
    assert found(prefixes, body([1, 2], temperature=0)) == ("two", [])
    assert found(prefixes, body([1, 3], temperature=0)) == ("one", [3])


def test_anything_else_that_differs_is_not_found() -> None:
    prefixes: Prefixes[str] = Prefixes()
    remember(prefixes, body([1, 2], temperature=0), "known")
    others = [body([1], temperature=0), body([1, 2, 3], temperature=1), body([1, 5, 3], temperature=0), b"", b"{"]
    others += [body([1, 2], temperature=0).replace(b"2]", b"2, ]"), body([1, 2], temperature=0).replace(b"2]", b"2 3]")]
    others += [body([1, 22], temperature=0)]
    assert [found(prefixes, other) for other in others] == [None] * len(others)
    assert prefixes.find(("caller", "another"), body_of(body([1, 2], temperature=0))) is None


def test_only_a_view_into_the_body_has_a_place() -> None:
    raw = body([1])
    assert place_of(body_of(raw), msgspec.Raw(b"1")) is None
    assert place_of(body_of(raw), items(split(raw)["messages"])[0]) == (raw.index(b"1"), raw.index(b"1") + 1)
    assert place_of(inside(raw), items(split(raw)["messages"])[0]) is None


def test_memory_is_bounded() -> None:
    prefixes: Prefixes[str] = Prefixes(budget=1_000)
    for number in range(50):
        raw = body(["x" * 100, number])
        prefixes.remember(("c", str(number)), body_of(raw), raw.rindex(b"]"), str(number))
    kept = [n for n in range(50) if prefixes.find(("c", str(n)), body_of(body(["x" * 100, n, 1])))]
    assert 1 <= len(kept) <= 9
    assert kept == list(range(50 - len(kept), 50))
    crowd: Prefixes[str] = Prefixes()
    for number in range(50):
        remember(crowd, body([0, number]), str(number))
    kept = [number for number in range(50) if found(crowd, body([0, number, 1]))]
    assert kept == [0, *range(51 - PER_KEY, 50)]


def test_a_run_keeps_its_opening_and_its_latest_request() -> None:
    prefixes: Prefixes[str] = Prefixes()
    remember(prefixes, body([0]), "0")
    for turn in range(1, 20):
        raw = body(list(range(turn + 1)))
        hit = prefixes.find(KEY, inside(raw))
        assert hit is not None
        assert hit[0].content == str(turn - 1)
        prefixes.extend(KEY, hit[0], inside(raw), str(turn))
    assert found(prefixes, body([0, "other"])) == ("0", ["other"])
    assert found(prefixes, body([0, 1, 2, "other"])) == ("0", [1, 2, "other"])


values = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.sampled_from(["]", "[{", '"messages": [', ", "]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@given(
    st.lists(values, min_size=1, max_size=4),
    st.lists(values, max_size=3),
    st.sampled_from([None, 0, 2]),
    st.dictionaries(st.sampled_from(["tools", "seed", "z"]), values, max_size=2),
    st.binary(max_size=3),
)
def test_what_is_found_is_what_a_full_reading_gives(
    first: list[Any], more: list[Any], indent: int | None, rest: dict[str, Any], noise: bytes
) -> None:
    prefixes: Prefixes[str] = Prefixes()
    remember(prefixes, body(first, indent, **rest), "known")
    raw = body([*first, *more], indent, **rest)
    hit = found(prefixes, raw)
    assert hit is not None
    assert first + hit[1] == json.loads(raw)["messages"]
    spoilt = raw[: len(raw) // 2] + noise + raw[len(raw) // 2 :]
    try:
        hit = found(prefixes, spoilt)
    except UnicodeDecodeError:
        return  # A text that is not UTF-8 shows when its message is decoded.
    assert hit is None or first + hit[1] == json.loads(spoilt)["messages"]
