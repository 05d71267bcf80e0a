"""Bad input, each kind of it: stored as it came, never in the way of the calls beside it, and reported."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.traffic.canonical import loads
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.oddities import HUGE_BYTES, Oddities
from tutelage.traffic.queries import show_call
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store
from tutelage.traffic.verify import verify

Make = Callable[..., CallRecord]
Message = dict[str, Any]
USER, HELLO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
ACT = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": name, "type": "function", "function": {"name": "look", "arguments": "{}"}} for name in ("c1", "c2")
    ],
}


def result(name: str) -> Message:
    return {"role": "tool", "tool_call_id": name, "content": "found"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


def taken(store: Store, make: Make, body: bytes) -> CallRecord:
    """A call with this request body, stored together with an ordinary one on either side."""
    odd = make([], HELLO, started_at=2.0, request=body)
    good = [make([{"role": "user", "content": f"good {at}"}], HELLO, started_at=at) for at in (1.0, 3.0)]
    report = Ingest(store).apply([encode(record) for record in (good[0], odd, good[1])], {})
    assert (report.calls, report.unreadable) == (3, 0)
    return odd


def told(store: Store) -> dict[str, int]:
    report = verify(store)
    assert (report.found, report.problems) == (0, [])
    assert all(one.example for one in report.odd)
    return {one.what: one.found for one in report.odd}


CASES: list[tuple[str, dict[str, int]]] = [
    ('[{"role": "oracle", "content": "hm"}]', {"unknown role": 1}),
    ('[{"content": "nobody"}]', {"unknown role": 1}),
    ('[{"role": 7, "content": "x"}]', {"unknown role": 1}),
    ('[{"role": "user", "content": [{"type": "smell", "data": "rose"}, 5]}]', {"unknown part": 1}),
    ('[{"role": "user", "content": {"text": "x"}}]', {"odd content": 1}),
    ('[{"role": "user", "content": 12}]', {"odd content": 1}),
    ('[{"role": "user", "content": "first", "content": "last"}]', {"repeated key": 1}),
    ('[{"role": "user", "content": [{"type": "text", "text": "a", "text": "b"}]}]', {"repeated key": 1}),
    ('[{"role": "user", "content": "\\ud800 alone"}]', {"broken text": 1}),
    ('[{"role": "user", "content": "a pair \\ud83d\\ude00, and a way to write: \\\\ud800, \\u0022"}]', {}),
    ('[{"role": "user", "content": "\\u0000 nothing"}]', {}),
    ('[{"role": "user", "content": ' + "[" * 300 + "]" * 300 + "}]", {"unknown part": 1}),
    (json.dumps([{"role": "user", "content": "x" * (HUGE_BYTES + 1)}]), {"huge message": 1}),
    (json.dumps([USER, result("c1")]), {"result without its call": 1}),
    (json.dumps([result("c1"), USER]), {"result without its call": 1}),
    (
        json.dumps([USER, ACT, result("c1"), result("c9"), USER]),
        {"result without its call": 1, "call without its result": 1},
    ),
    (json.dumps([USER, ACT, USER]), {"call without its result": 1}),
    (json.dumps([USER, ACT, result("c2")]), {"call without its result": 1}),
    (json.dumps([USER, ACT, result("c2"), result("c1"), USER]), {}),
    (json.dumps([{"role": "tool", "content": "no id"}, {"role": "assistant", "tool_calls": "none"}, USER]), {}),
]


@pytest.mark.parametrize(("messages", "odd"), CASES, ids=range(len(CASES)))
def test_odd_messages_are_stored_as_they_came_and_told(
    store: Store, make_call: Make, messages: str, odd: dict[str, int]
) -> None:
    record = taken(store, make_call, b'{"model": "m", "messages": ' + messages.encode() + b"}")
    detail = show_call(store, record.call_id)
    assert detail.call.error == ""
    assert detail.request
    assert repr(detail.request["messages"]) == repr(loads(messages))
    assert detail.answer == HELLO
    stored = "".join(body for (body,) in store.rows("SELECT body FROM messages"))
    assert '"first"' not in messages or '"first"' in stored, "both values of a repeated key are there"
    assert told(store) == odd


@pytest.mark.parametrize(
    ("body", "error", "what"),
    [
        (b"\xff\xfe not text", "bad_json", "unreadable body: no JSON"),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', "bad_json", "unreadable body: no JSON"),
        (b'{"messages": [{"role": "user", "content": "cut', "bad_json", "unreadable body: no JSON"),
        (b"[" * 100_000, "bad_json", "unreadable body: no JSON"),
        (b'{"messages": []}', "no_messages", "unreadable body: no messages"),
        (b'{"messages": ["hi"]}', "unreadable_request: TypeError", "unreadable_request"),
        (
            b'{"messages": [{"role": "user", "content": ' + b"[" * 5000 + b"]" * 5000 + b"}]}",
            None,
            "unreadable_request",
        ),
    ],
)
def test_what_is_no_request_is_kept_byte_for_byte_and_told(
    store: Store, make_call: Make, body: bytes, error: str | None, what: str
) -> None:
    record = taken(store, make_call, body)
    [(found, raw)] = store.rows("SELECT error, request_raw FROM calls WHERE call_id = ?", [record.call_id])
    assert raw == body
    assert found == error or (error is None and found)
    if error is not None:
        assert told(store) == {what: 1}
    assert show_call(store, record.call_id).request is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
NAMED = st.sampled_from(["role", "content", "tool_calls", "tool_call_id", "name", "function_call", "type"])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(NAMED, JSON | st.sampled_from(["user", "tool", "assistant", "c1"]), max_size=5), max_size=5
    )
)
def test_no_message_stops_ingest_or_verify(
    tmp_path_factory: pytest.TempPathFactory, make_call: Make, messages: list[Message]
) -> None:
    with Store(tmp_path_factory.mktemp("odd") / "store.duckdb") as store:
        body = json.dumps({"messages": messages}).encode()
        record = taken(store, make_call, body)
        told(store)
        detail = show_call(store, record.call_id)
        if detail.call.error:
            assert detail.request_raw.encode() == body
        else:
            assert detail.request
            assert repr(detail.request["messages"]) == repr(loads(json.dumps(messages)))


def test_what_follows_a_turn_that_is_not_known_is_not_judged(tmp_path: Path) -> None:
    odd = Oddities()
    odd.see("m3", "m2", 2, USER, "{}")
    odd.see("m2", "m1", 1, result("c1"), "{}")
    with Store(tmp_path / "store.duckdb") as store, store.snapshot() as view:
        assert odd.found(view) == []
