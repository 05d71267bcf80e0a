"""The form of records that log sources post: what is refused with which words, and the call record that is made."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.identify import session_key
from tutelage.proxy.intake_form import MOST, Batch, parse, record_in
from tutelage.traffic.errors import BadInput
from tutelage.traffic.records import CallRecord, decode, encode

CALLER = "00112233aabbccdd"
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "naïve ☃"}]}
RESPONSE = {"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "yes"}}]}


def said(**fields: Any) -> bytes:
    known = {"request": REQUEST, "response": RESPONSE, "started_at": 1_800_000_000.25, "id": "run-1"}
    return json.dumps({name: value for name, value in {**known, **fields}.items() if value is not ...}).encode()


def record(caller: str = CALLER, source: str = "", **fields: Any) -> CallRecord:
    return record_in(said(**fields), caller, source)


def test_bodies_are_kept_as_they_were_said() -> None:
    made = record(trajectory="run", parent="up", conversation="thread", pattern="desk", latency_ms=12.5, stream=True)
    assert json.loads(made.request) == REQUEST
    assert json.dumps(REQUEST).encode() == made.request
    assert json.loads(made.response) == RESPONSE
    assert (made.trajectory, made.parent, made.hint) == ("run", "up", "desk")
    assert (made.route, made.reason, made.status, made.error) == ("teacher", "recorded", 200, "")
    assert (made.caller, made.started_at, made.latency_ms, made.stream) == (CALLER, 1_800_000_000.25, 12.5, True)
    assert made.session == session_key(CALLER, "thread", REQUEST)
    assert record(source="plugin:x").reason == "recorded:plugin:x"
    assert decode(encode(made)) == made


def test_a_call_without_an_answer_is_a_failed_one() -> None:
    made = record(response=..., error="RateLimitError: slow down", status=429)
    assert (made.status, made.error, made.response) == (429, "RateLimitError: slow down", b"")
    assert (record(response=None).status, record(response=None).error) == (502, "no_answer_recorded")


def test_the_session_is_that_of_the_same_call_through_the_proxy() -> None:
    assert record().session == session_key(CALLER, "", REQUEST)
    named = {**REQUEST, "metadata": {"tutelage_trajectory": "run 7", "tutelage_parent": "run 6"}}
    made = record(request=named)
    assert (made.trajectory, made.parent) == ("run 7", "run 6")
    assert made.session == session_key(CALLER, "run 7", named)


def test_an_id_stands_for_one_call_of_one_caller() -> None:
    ids = [record().call_id, record(caller="other").call_id, record(id="run-2").call_id]
    ids += [record(started_at=1_800_000_000.5).call_id, record(id=...).call_id, record(id=..., response=None).call_id]
    assert len(set(ids)) == len(ids)
    assert record(latency_ms=5.0, response=None).call_id == ids[0]
    assert record(id=...).call_id == ids[4]


def test_ids_sort_by_time_and_are_uuids_of_version_7() -> None:
    ids = [record(started_at=1_800_000_000.0 + second).call_id for second in range(50)]
    assert ids == sorted(ids)
    assert all(one[14] == "7" and one[19] in "89ab" and len(one) == 36 for one in ids)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"request": ...}, "missing required field `request`"),
        ({"request": None}, "'request' must be an object, null came"),
        ({"request": [1]}, "'request' must be an object, list came"),
        ({"response": "yes"}, "'response' must be an object, str came"),
        ({"started_at": ...}, "missing required field `started_at`"),
        ({"started_at": 1_800_000_000_000.0}, "Unix seconds"),
        ({"started_at": 0}, "Unix seconds"),
        ({"latency_ms": -1.0}, "milliseconds"),
        ({"status": 42}, "HTTP status"),
        ({"retry": -1}, "count"),
        ({"endpoint": "/v1/feedback"}, "/v1/feedback"),
        ({"trajectory": "x" * 201}, "at most 200 characters, not 201"),
        ({"trajectorie": "x"}, "unknown field `trajectorie`"),
    ],
)
def test_what_does_not_fit_is_told(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        record(**fields)


def test_the_batch_is_checked_too() -> None:
    assert parse(b'{"records": [{}], "source": "s"}') == Batch([parse(b'{"records": [{}]}').records[0]], "s")
    for body in (b"", b"[]", b'{"records": {}}', b'{"recrods": []}'):
        with pytest.raises(BadInput, match=r"docs/log-sources\.md"):
            parse(body)
    with pytest.raises(BadInput, match=f"1 to {MOST} records in one request, 0 came"):
        parse(b'{"records": []}')
    with pytest.raises(BadInput, match=f"{MOST + 1} came"):
        parse(json.dumps({"records": [1] * (MOST + 1)}).encode())
    with pytest.raises(BadInput, match="'source' must have at most"):
        record_in(said(), CALLER, "s" * 201)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["request", "response", "started_at", "id", "status", "error"]), _json))
def test_odd_records_are_refused_or_whole(fields: dict[str, Any]) -> None:
    try:
        made = record(**fields)
    except BadInput:
        return
    assert decode(encode(made)) == made
    assert isinstance(json.loads(made.request), dict)
