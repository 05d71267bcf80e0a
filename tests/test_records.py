"""Call records: every byte comes back, and old segments stay readable."""

import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.records import CallRecord, decode, encode, new_call_id


@given(
    request=st.binary(),
    response=st.binary(),
    error=st.text(),
    status=st.integers(0, 599),
    confidence=st.none() | st.floats(-99, 0),
)
def test_a_record_comes_back_as_it_was(
    request: bytes, response: bytes, error: str, status: int, confidence: float | None
) -> None:
    record = CallRecord(
        call_id=new_call_id(),
        started_at=1.5,
        request=request,
        response=response,
        error=error,
        status=status,
        confidence=confidence,
    )
    assert decode(encode(record)) == record


def test_a_record_of_an_older_program_gets_defaults() -> None:
    old = msgspec.msgpack.encode(["0190-id", 12.0, "POST", "/v1/chat/completions"])
    assert decode(old) == CallRecord(call_id="0190-id", started_at=12.0)
    whole = msgspec.structs.astuple(CallRecord(call_id="0190-id", started_at=12.0, teacher="t", parent="p"))
    assert (whole[-2:], decode(msgspec.msgpack.encode(whole[:-1])).parent) == (("t", "p"), "")


def test_garbage_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(b"\xc1 no record")


def test_call_ids_are_uuid7_and_sort_by_time() -> None:
    early, late = new_call_id(1_000.0), new_call_id(2_000.001)
    assert uuid.UUID(early).version == 7
    assert uuid.UUID(early).variant == uuid.RFC_4122
    assert early < late
    assert uuid.UUID(late).int >> 80 == 2_000_001
    assert len({new_call_id(5.0) for _ in range(1000)}) == 1000
