"""Foreign ways to write a call, brought into one."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.errors import BadInput
from tutelage.traffic.imported import (
    Exchange,
    answer_of,
    call_id_of,
    moment,
    record_of,
    request_of,
    span_ms,
    unpacked,
    usage_of,
)

HELLO = {"role": "assistant", "content": "hello"}
USER = {"role": "user", "content": "hi"}


@given(st.text(), st.text())
def test_ids_are_canonical_and_tell_keys_apart(one: str, other: str) -> None:
    found = call_id_of("chat", one)
    assert str(UUID(found)) == found
    assert (UUID(found).version, UUID(found).variant) == (8, "specified in RFC 4122")
    assert (found == call_id_of("chat", other)) == (one == other)
    assert found != call_id_of("openai", one)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1_800_000_000, 1.8e9),
        (1_800_000_000_000, 1.8e9),
        ("1800000000.5", 1_800_000_000.5),
        ("2027-01-15T08:00:00Z", 1.8e9),
        ("2027-01-15T08:00:00", 1.8e9),
        ("2027-01-15T09:00:00+01:00", 1.8e9),
        (True, 0.0),
        (-5, 0.0),
        (float("nan"), 0.0),
        (float("inf"), 0.0),
        ("yesterday", 0.0),
        (None, 0.0),
        ([1], 0.0),
    ],
)
def test_moments(value: Any, seconds: float) -> None:
    assert moment(value) == seconds


def test_spans() -> None:
    assert span_ms(100.0, 100.5) == pytest.approx(500.0)
    assert span_ms(100.0, 99.0) == span_ms(None, 5.0) == 0.0


@pytest.mark.parametrize(
    "value",
    [
        HELLO,
        [HELLO],
        json.dumps(HELLO),
        "hello",
        {"choices": [{"message": HELLO}]},
        {"content": "hello"},
        {**HELLO, "provider_specific_fields": {"x": 1}, "tool_calls": None},
    ],
)
def test_answers(value: Any) -> None:
    assert answer_of(value) == HELLO


@pytest.mark.parametrize("value", [None, "", [], {}, 5, {"choices": []}, {"role": "user", "content": "x"}, [HELLO] * 2])
def test_what_is_no_answer(value: Any) -> None:
    assert answer_of(value) is None


def test_requests() -> None:
    assert request_of("hi", model="m", seed=None) == {"model": "m", "messages": [USER]}
    assert request_of(json.dumps([USER]))["messages"] == [USER]
    for odd in (None, [], {}, 5, [5], [{"content": "x"}], [{"role": 5}]):
        with pytest.raises(BadInput):
            request_of(odd)


def test_counts_and_texts() -> None:
    assert usage_of(3, 4.0) == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert usage_of(None, -1) == {}
    assert unpacked("{odd") == "{odd"
    assert unpacked(" [1]") == [1]


def test_records() -> None:
    made = record_of("chat", "k", 5.0, Exchange({"messages": [USER]}, HELLO, session="s", model="m"))
    assert (made.started_at, made.caller, made.call_id) == (5.0, "import:chat", call_id_of("chat", "k"))
    assert len(made.session) == 32
    assert json.loads(made.response)["choices"][0] == {"index": 0, "message": HELLO, "finish_reason": "stop"}
    failed = record_of("chat", "k", 5.0, Exchange({"messages": [USER]}, None, status=500, error="no"))
    assert json.loads(failed.response)["error"]["message"] == "no"
