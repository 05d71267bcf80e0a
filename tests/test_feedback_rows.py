"""Feedback from the journal into the store: once, whatever comes first, and about the right run."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tutelage.traffic.feedback import ACCEPTED, PATH
from tutelage.traffic.feedback_rows import GIVEN_UP_S, listed, resolve, take
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.records import CallRecord, encode, new_call_id
from tutelage.traffic.store import Store

ASKED = [{"role": "user", "content": "hi"}]
SAID = {"role": "assistant", "content": "hello"}
NOW = 2_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


def said(at: float = NOW, caller: str = "c", status: int = ACCEPTED, **fields: Any) -> bytes:
    """A journal record of feedback."""
    request = json.dumps({"metric": "success", "value": True, **fields}).encode()
    return encode(
        CallRecord(call_id=new_call_id(at), started_at=at, endpoint=PATH, caller=caller, status=status, request=request)
    )


def found(store: Store) -> list[tuple[str, str | None, str | None]]:
    rows = sorted(listed(store, 100), key=lambda row: row["at"])
    return [(row["state"], row["call_id"], row["trajectory_id"]) for row in rows]


def test_only_feedback_is_taken_and_only_once(store: Store, make_call: Callable[..., CallRecord]) -> None:
    call = encode(make_call([{"role": "user", "content": "POST /v1/feedback please"}], SAID))
    refused = said(status=400, trajectory="r")
    batch = [call, said(trajectory="r"), refused, b"/v1/feedback, no record"]
    assert take(store, batch) == [call, refused, b"/v1/feedback, no record"]
    assert take(store, batch) == [call, refused, b"/v1/feedback, no record"]
    assert len(listed(store, 10)) == 1
    report = Ingest(store).apply(take(store, batch), {})
    assert (report.calls, report.unreadable) == (2, 1)


def test_a_senders_own_id_counts_once_and_only_among_his_own(store: Store) -> None:
    for value in (True, False):
        take(store, [said(id="order-7", value=value, trajectory="r"), said(id="order-7", value=value, trajectory="r")])
    take(store, [said(id="order-7", caller="other", trajectory="r", value=0.5)])
    assert [(row["feedback_id"], row["value"]) for row in listed(store, 10)] == [
        ("c/order-7", True),
        ("other/order-7", 0.5),
    ]


@pytest.mark.parametrize("value", [True, False, 0.0, 2.5, "", "fine"])
def test_values_come_back_as_they_were(store: Store, value: Any) -> None:
    take(store, [said(value=value, trajectory="r", comment="why", source="me")])
    (row,) = listed(store, 10)
    assert (row["value"], type(row["value"])) == (value, type(value))
    assert (row["comment"], row["source"], row["state"], row["caller"]) == ("why", "me", "waiting", "c")


def test_every_way_to_name_a_call_or_a_run(store: Store, make_call: Callable[..., CallRecord]) -> None:
    body = {
        "id": "chatcmpl-7",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": SAID, "finish_reason": "stop"}],
    }
    one = make_call(ASKED, SAID, started_at=1_000.0, caller="c", trajectory="run é", session="s" * 32,
                    response=json.dumps(body).encode())  # fmt: skip
    more = [*ASKED, SAID, {"role": "user", "content": "more"}]
    two = make_call(more, SAID, started_at=1_100.0, caller="c", trajectory="run é", session="s" * 32)
    late = make_call(
        [*more, SAID, ASKED[0]], SAID, started_at=2_500.0, caller="c", trajectory="run é", session="s" * 32
    )
    Ingest(store).apply([encode(record) for record in (one, two, late)], {})
    named: list[dict[str, Any]] = [
        {"call_id": one.call_id}, {"call_id": one.call_id.upper()}, {"call_id": "chatcmpl-7"},
        {"trajectory": "run é"}, {"trajectory": "x:run é"},
        {"last_of": "run é"}, {"last_of": "x:run é"}, {"last_of": "s" * 32},
        {"call_id": "none"}, {"trajectory": "none"}, {"last_of": "none"}, {"call_id": "run é"},
    ]  # fmt: skip
    take(store, [said(NOW + number / 100, **fields) for number, fields in enumerate(named)])
    assert resolve(store, NOW + 10) == 8
    run = "x:run é"
    expected = [("found", one.call_id, run)] * 3 + [("found", None, run)] * 2
    expected += [("found", two.call_id, run)] * 3  # the newest when it was said, not the newest now
    assert found(store) == [*expected, *[("waiting", None, None)] * 4]


def test_feedback_may_come_before_its_call(store: Store, make_call: Callable[..., CallRecord]) -> None:
    call = make_call(ASKED, SAID, started_at=NOW - 1)
    take(store, [said(call_id=call.call_id)])
    assert resolve(store, NOW) == 0
    Ingest(store).apply([encode(call)], {})
    assert resolve(store, NOW + 0.5) == 0  # not looked up yet again
    assert resolve(store, NOW + 1.0) == 1
    assert found(store) == [("found", call.call_id, call.call_id)]


def test_a_call_of_long_ago_is_found_at_once(store: Store, make_call: Callable[..., CallRecord]) -> None:
    old = make_call(ASKED, SAID, started_at=NOW, trajectory="old")
    Ingest(store).apply([encode(old)], {})
    month = NOW + 30 * 86_400.0
    take(store, [said(month, call_id=old.call_id), said(month + 0.1, last_of="old"), said(month + 0.2, last_of="it")])
    assert resolve(store, month + 0.3) == 2
    assert found(store) == [("found", old.call_id, "x:old")] * 2 + [("waiting", None, None)]


def test_what_never_comes_is_looked_up_ever_less_and_then_given_up(store: Store) -> None:
    take(store, [said(call_id=new_call_id(NOW))])
    now, looks = NOW, 0
    while (due := store.value("SELECT look_at FROM feedback")) is not None:
        now, looks = due, looks + 1
        assert resolve(store, now) == 0
    assert GIVEN_UP_S < now - NOW < GIVEN_UP_S + 3_700
    assert looks < 200
    assert found(store) == [("unknown", None, None)]


def test_the_list_can_be_narrowed(store: Store) -> None:
    take(store, [said(NOW + n, trajectory="r", metric=f"m{n}") for n in range(3)])
    assert [row["metric"] for row in listed(store, 2)] == ["m2", "m1"]
    assert [row["metric"] for row in listed(store, 9, metric="m0")] == ["m0"]
    assert listed(store, 9, trajectory="r") == []
