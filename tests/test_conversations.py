"""Requests and answers come back as they were sent, one at a time or many at once."""

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from tutelage.traffic.conversations import (
    Conversations,
    answer_of,
    answers_of,
    chains_of,
    messages_of,
    request_of,
    requests_of,
)
from tutelage.traffic.errors import BadInput, UnknownName
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store

Make = Callable[..., CallRecord]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
USER = {"role": "user", "content": 'hi 😀 "quoted"\n'}
HELLO = {"role": "assistant", "content": "hello"}


@pytest.fixture
def store(tmp_path: Path):
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


def ingest(store: Store, *records: CallRecord) -> None:
    Ingest(store).apply([encode(record) for record in records], {})


def test_hundreds_of_requests_come_back_as_they_were_sent(store: Store, make_call: Make) -> None:
    records = []
    for run in range(40):
        messages = [{"role": "system", "content": "same for all"}, {"role": "user", "content": f"task {run}"}]
        for turn in range(6):
            answer = {"role": "assistant", "content": f"{run}.{turn}"}
            tools = TOOLS if run % 2 else None
            records.append(make_call(list(messages), answer, started_at=run * 100.0 + turn, tools=tools))
            messages += [answer, {"role": "user", "content": f"go on {turn}"}]
    ingest(store, *records)
    requests = requests_of(store, [record.call_id for record in records])
    answers = answers_of(store, [record.call_id for record in records])
    for record in records:
        assert requests[record.call_id] == json.loads(record.request)
        assert answers[record.call_id] == json.loads(record.response)["choices"][0]["message"]
    assert store.value("SELECT count(*) FROM messages") == 1 + 40 * (1 + 6 + 5)


def test_one_call_and_its_chain(store: Store, make_call: Make) -> None:
    record = make_call([USER], HELLO, tools=TOOLS)
    ingest(store, record)
    assert request_of(store, record.call_id) == json.loads(record.request)
    assert answer_of(store, record.call_id) == HELLO
    tail, response = store.rows("SELECT request_tail, response_id FROM calls")[0]
    assert messages_of(store, str(tail)) == messages_of(store, tail.hex) == [USER]
    assert chains_of(store, [response.hex, uuid4().hex]) == {response.hex: [USER, HELLO]}


def test_conversations_share_what_they_have_in_common(store: Store, make_call: Make) -> None:
    other = {"role": "user", "content": "and then?"}
    ingest(
        store,
        make_call([USER], HELLO, started_at=1.0),
        make_call([USER, HELLO, other], HELLO, started_at=2.0),
        make_call([other], HELLO, started_at=3.0),
    )
    (_, first), (_, second), (_, third) = store.rows("SELECT started_at, response_id::VARCHAR FROM calls ORDER BY 1")
    said = Conversations(store, [first, second, third])
    assert [said.depth(name) for name in (second, first, third)] == [3, 1, 1]
    said.read([second], [third])
    assert said.chain(second) == [USER, HELLO, other, HELLO]
    assert said.chain(second)[1] is said.message(first)
    assert said.message(third) == HELLO
    assert str(uuid4()) not in said


def test_what_is_removed_while_it_is_read_is_left_out(store: Store, make_call: Make) -> None:
    other = {"role": "user", "content": "and then?"}
    ingest(store, make_call([USER, HELLO, other], HELLO))
    (tail,) = (str(name) for (name,) in store.rows("SELECT response_id FROM calls"))
    said = Conversations(store, [tail])
    store.execute("DELETE FROM messages WHERE depth < 2")
    said.read([tail])
    assert said.chain(tail) == [other, HELLO]


def test_what_does_not_exist_has_a_clear_name(store: Store, make_call: Make) -> None:
    for missing in (str(uuid4()), "nonsense"):
        with pytest.raises(UnknownName, match="no call"):
            request_of(store, missing)
        with pytest.raises(UnknownName, match="no call"):
            answer_of(store, missing)
    with pytest.raises(UnknownName, match="no message"):
        messages_of(store, uuid4().hex)
    broken = msgspec.structs.replace(make_call([USER], HELLO), request=b"{")
    ingest(store, broken)
    with pytest.raises(BadInput, match="raw bytes"):
        request_of(store, broken.call_id)
    assert requests_of(store, [broken.call_id]) == {}
    assert answers_of(store, [broken.call_id]) == {broken.call_id: None}
