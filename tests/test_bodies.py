"""Bodies made plain and split."""

import gzip
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.bodies import fields_of, items_of, joined, plain
from tutelage.traffic.canonical import loads
from tutelage.traffic.errors import BadInput
from tutelage.traffic.records import CallRecord, new_call_id

BLANK = CallRecord(call_id=new_call_id(), started_at=1.0, request=b"{}", response=b"{}")


def test_a_plain_record_is_given_back_as_it_is() -> None:
    for response in (b"{}", b"data: {}", b": ping", b""):
        record = msgspec.structs.replace(BLANK, response=response)
        assert plain(record) == (record, ("", ""))
        assert plain(record)[0] is record


def test_what_is_packed_is_unpacked_or_noted() -> None:
    record = msgspec.structs.replace(BLANK, request=gzip.compress(b"{}"), response=b"x", response_encoding="br")
    found, coded = plain(record)
    assert (found.request, found.response, coded) == (b"{}", b"x", ("", "encoded:br"))
    empty = msgspec.structs.replace(BLANK, response=b"", response_encoding="gzip")
    assert plain(empty)[1] == ("", "")


values = st.recursive(
    st.none() | st.integers() | st.text(st.characters(codec=None), max_size=4),
    lambda inner: st.lists(inner, max_size=3),
)


@given(st.dictionaries(st.text(max_size=5), values), st.sampled_from([None, 1]))
def test_split_and_joined_it_is_the_same(body: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(body, indent=indent).encode()
    assert loads(joined(fields_of(text))) == loads(text)


@given(st.lists(values))
def test_items_are_the_elements(listed: list[Any]) -> None:
    assert [loads(bytes(item)) for item in items_of(msgspec.Raw(json.dumps(listed).encode()))] == [
        loads(json.dumps(item)) for item in listed
    ]


@pytest.mark.parametrize("raw", [None, msgspec.Raw(b"{}"), msgspec.Raw(b'"x"'), msgspec.Raw(b"null")])
def test_what_is_no_list_has_no_items(raw: msgspec.Raw | None) -> None:
    assert items_of(raw) == []


@pytest.mark.parametrize("body", [b"", b"[1]", b"7", b"{oops"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        fields_of(body)
