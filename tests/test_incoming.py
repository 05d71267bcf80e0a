"""Records as ingest reads them: the same fields in the same places, the request where it lies."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.incoming import Incoming, decode_incoming
from tutelage.traffic.records import CallRecord, decode, encode

KEPT = [name for name in CallRecord.__struct_fields__ if name != "request"]


@given(st.binary(max_size=80_000), st.binary(max_size=300), st.text(), st.floats(allow_nan=False))
def test_a_record_says_the_same_and_its_request_is_not_copied(
    request: bytes, response: bytes, text: str, at: float
) -> None:
    payload = encode(CallRecord(call_id="c", started_at=at, request=request, response=response, endpoint=text))
    found, whole = decode_incoming(payload), decode(payload)
    assert [getattr(found, name) for name in KEPT] == [getattr(whole, name) for name in KEPT]
    assert bytes(found.request) == request
    assert found.request.obj is payload


def test_fields_are_in_the_record_s_order_and_missing_ones_have_their_defaults() -> None:
    assert Incoming.__struct_fields__ == CallRecord.__struct_fields__
    short = decode_incoming(msgspec.msgpack.encode(["c", 1.0]))
    assert (short.call_id, bytes(short.request), short.route) == ("c", b"", "teacher")
    with pytest.raises(msgspec.MsgspecError):
        decode_incoming(b"\x01")
