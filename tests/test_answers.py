"""Responses of all kinds, good and bad: an answer only when it is whole, raw bytes when something else was said."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.answers import answer_of_record, chat_answer, clean, dump
from tutelage.traffic.canonical import loads
from tutelage.traffic.records import CallRecord, new_call_id

HELLO = {"role": "assistant", "content": "hello"}
BLANK = CallRecord(call_id=new_call_id(), started_at=1.0, status=200)


def completion(message: Any = HELLO, finish: str | None = "stop", **more: Any) -> bytes:
    return json.dumps({"model": "m", "choices": [{"message": message, "finish_reason": finish}], **more}).encode()


def stream(*deltas: dict[str, Any], finish: str | None = "stop") -> bytes:
    chunks: list[dict[str, Any]] = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    if finish:
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def test_a_plain_answer_with_its_cost() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    answer = answer_of_record(msgspec.structs.replace(BLANK, response=completion(usage=usage)))
    assert answer.said() == HELLO
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (5, 2, 4)
    assert (answer.model, answer.finish_reason, answer.error, answer.keep_raw) == ("m", "stop", "", False)


def test_a_stream_is_put_together_and_a_broken_one_is_no_answer() -> None:
    whole = stream({"role": "assistant", "content": "hel"}, {"content": "lo"})
    answer = answer_of_record(msgspec.structs.replace(BLANK, stream=True, response=whole))
    assert answer.message is not None
    assert answer.message["content"] == "hello"
    cut = stream({"role": "assistant", "content": "hel"}, finish=None)
    answer = answer_of_record(msgspec.structs.replace(BLANK, stream=True, response=cut))
    assert (answer.message, answer.error, answer.keep_raw) == (None, "incomplete", True)
    answer = answer_of_record(msgspec.structs.replace(BLANK, stream=True, cancelled=True, response=cut))
    assert (answer.message, answer.error, answer.keep_raw) == (None, "", True)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (
            429,
            b'{"error": {"message": "slow down", "type": "rate", "code": "rate_limit_exceeded"}}',
            "rate_limit_exceeded",
        ),
        (500, b'{"error": {"message": "?", "type": "server_error", "code": null}}', "server_error"),
        (502, b"<html>bad gateway</html>", "unreadable_response"),
        (503, b'{"detail": "away"}', "http_503"),
        (200, b'{"choices": []}', "no_choices"),
        (200, b"[1, 2]", "unreadable_response"),
        (200, b"\xff\xfe\x00", "unreadable_response"),
        (200, b"[" * 100_000, "unreadable_response"),
        (200, completion("text"), "incomplete"),
    ],
)
def test_everything_else_is_kept_raw_with_a_reason(status: int, body: bytes, error: str) -> None:
    answer = answer_of_record(msgspec.structs.replace(BLANK, status=status, response=body))
    assert (answer.message, answer.error, answer.keep_raw) == (None, error, True)


def test_several_choices_keep_the_whole_body() -> None:
    body = json.dumps({"choices": [{"message": HELLO, "finish_reason": "stop"}] * 2}).encode()
    answer = answer_of_record(msgspec.structs.replace(BLANK, response=body))
    assert answer.said() == HELLO
    assert answer.keep_raw


def test_counts_that_no_database_can_hold_are_left_out() -> None:
    usage = {"prompt_tokens": 10**30, "completion_tokens": -1, "prompt_tokens_details": [1]}
    answer = answer_of_record(msgspec.structs.replace(BLANK, response=completion(usage=usage)))
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (None, None, None)


def test_an_empty_body_is_an_error_unless_the_agent_left() -> None:
    assert answer_of_record(BLANK).error == "empty_response"
    assert answer_of_record(msgspec.structs.replace(BLANK, cancelled=True)).error == ""


MESSAGES = ({"content": None}, {"content": "\ud800"}, [1], "text", None)


@pytest.mark.parametrize("message", [HELLO, *MESSAGES])
@pytest.mark.parametrize("finish", ["stop", None, "", 7])
@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": 5, "prompt_tokens_details": None}, {"prompt_tokens": "5"}, []]
)
@pytest.mark.parametrize("fields", [{}, {"stream": True}, {"cancelled": True}, {"status": 500}])
def test_the_short_way_to_read_an_answer_says_what_the_long_way_says(
    message: Any, finish: Any, usage: Any, fields: dict[str, Any]
) -> None:
    body = {"id": "c", "model": "m", "choices": [{"message": message, "finish_reason": finish}], "usage": usage}
    record = msgspec.structs.replace(BLANK, response=json.dumps(body).encode(), **fields)
    short, long = answer_of_record(record), answer_of_record(record, lambda body, record: chat_answer(body, record))
    assert (short.said(), short.whole) == (long.said(), long.whole)
    short.message, short.raw = long.message, long.raw
    assert short == long


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_dumped_reads_back_and_can_be_stored(value: Any) -> None:
    text = dump(value)
    text.encode()
    assert loads(text.encode()) == value


@given(
    st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()), st.booleans(), st.integers(0, 599)
)
def test_no_response_can_make_it_fail(body: bytes, streamed: bool, status: int) -> None:
    prefix = b"data: " if streamed else b""
    record = msgspec.structs.replace(BLANK, response=prefix + body, status=status, stream=streamed)
    answer = answer_of_record(record)
    # Whatever came is kept in one form or the other.
    assert answer.whole or answer.keep_raw or answer.error or not record.response


def test_clean_gives_text_that_can_be_stored() -> None:
    assert clean("a\ud800") == "a?"
    assert clean(7) == ""
