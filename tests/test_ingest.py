"""From the journal into the store: once each, whatever comes twice, late, broken or interleaved."""

import collections
import gzip
import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.traffic.conversations import messages_of
from tutelage.traffic.discovery import Assignment, Recognised
from tutelage.traffic.facts import Facts
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.patterns import PatternEntry
from tutelage.traffic.records import CallRecord, encode, new_call_id
from tutelage.traffic.store import Store

Make = Callable[..., CallRecord]
Message = dict[str, Any]
USER = {"role": "user", "content": "hi"}
HELLO = {"role": "assistant", "content": "hello"}
TABLES = ("calls", "messages", "toolsets", "trajectories", "patterns", "journal_positions")


@pytest.fixture
def store(tmp_path: Path):
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


def contents(store: Store) -> dict[str, list[Any]]:
    return {table: store.rows(f"SELECT * FROM {table} ORDER BY ALL") for table in TABLES}


def act(name: str, number: int = 0) -> Message:
    call = {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": "{}"}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def run_of(make: Make, number: int, turns: int, start: float, opening: str = "begin") -> list[CallRecord]:
    """The calls of one run; runs differ from their first answer on."""
    messages: list[Message] = [{"role": "system", "content": "S"}, {"role": "user", "content": opening}]
    records = []
    for turn in range(turns):
        answer = {"role": "assistant", "content": f"bye {number}"} if turn == turns - 1 else act(f"f{number}", turn)
        records.append(make(list(messages), answer, started_at=start + turn))
        messages += [answer, {"role": "tool", "tool_call_id": f"c{turn}", "content": f"r{turn}"}]
    return records


def trajectory_of(store: Store) -> dict[str, str]:
    return {row["call_id"]: row["trajectory_id"] for row in store.query("SELECT call_id, trajectory_id FROM calls")}


def test_the_same_and_overlapping_batches_change_nothing(store: Store, make_call: Make) -> None:
    payloads = [encode(record) for number in range(5) for record in run_of(make_call, number, 4, number * 10.0)]
    ingest = Ingest(store)
    report = ingest.apply(payloads[:12] + payloads[:3], {"w/1": 12})
    assert (report.calls, report.duplicates, report.unreadable) == (12, 3, 0)
    assert ingest.apply(payloads[8:], {"w/1": 20}).calls == 8
    before = contents(store)
    assert [len(before[table]) for table in TABLES] == [20, 5 * 7 + 2, 0, 5, 0, 1]
    for again in (ingest, Ingest(store)):
        report = again.apply(payloads, {"w/1": 20})
        assert (report.calls, report.duplicates, report.new_messages) == (0, 20, 0)
        assert contents(store) == before
    assert ingest.positions() == {"w/1": 20}
    ingest.forget_positions(["w/1"])
    assert ingest.positions() == {}


def test_fifty_interleaved_agents_are_told_apart_in_any_batches(store: Store, make_call: Make) -> None:
    rng = random.Random(7)
    runs = [run_of(make_call, number, 2 + number % 5, rng.uniform(0, 5)) for number in range(50)]
    records = sorted((record for run in runs for record in run), key=lambda record: record.started_at)
    ingest, position = Ingest(store), 0
    while position < len(records):
        size = rng.randint(1, 25)
        batch = records[position : position + size]
        rng.shuffle(batch)
        ingest.apply([encode(record) for record in batch], {})
        position += size
        if rng.random() < 0.3:
            ingest = Ingest(store)
    found = trajectory_of(store)
    for run in runs:
        assert {found[record.call_id] for record in run} == {run[0].call_id}
    assert store.value("SELECT count(*) FROM trajectories WHERE success AND finished") == 50
    turns = store.rows("SELECT trajectory_id, list(turn ORDER BY started_at) FROM calls GROUP BY ALL")
    assert all(listed == list(range(len(listed))) for _, listed in turns)
    counted = store.rows("SELECT trajectory_id, count(*) FROM calls GROUP BY ALL ORDER BY ALL")
    assert store.rows("SELECT trajectory_id, calls FROM trajectories ORDER BY ALL") == counted


def test_a_restart_finds_runs_that_are_older_than_its_memory(store: Store, make_call: Make) -> None:
    first, second = run_of(make_call, 1, 2, 1_000.0)
    late = msgspec.structs.replace(second, started_at=90_000.0)
    Ingest(store).apply([encode(first)], {})
    Ingest(store).apply([encode(make_call([USER], HELLO, started_at=89_000.0))], {})
    Ingest(store).apply([encode(late)], {})
    assert trajectory_of(store)[late.call_id] == first.call_id


def test_after_many_short_runs_a_restart_knows_which_of_two_equal_ones_has_gone_on(
    store: Store, make_call: Make
) -> None:
    """More runs than are looked up by their ids."""
    pairs = 550
    openings = [{"role": "user", "content": f"parcel {number}"} for number in range(pairs)]
    calls = [make_call([openings[n % pairs]], HELLO, started_at=n / 100) for n in range(2 * pairs)]
    more = [make_call([opening, HELLO, USER], HELLO, started_at=20 + n / 100) for n, opening in enumerate(openings)]
    Ingest(store).apply([encode(call) for call in calls + more], {})
    last = make_call([openings[7], HELLO, USER], HELLO, started_at=40.0)
    Ingest(store).apply([encode(last)], {})
    run = trajectory_of(store)
    assert [run[call.call_id] for call in (more[7], last)] == [run[calls[7].call_id], run[calls[pairs + 7].call_id]]


def test_retries_forks_and_calls_that_were_broken_off(store: Store, make_call: Make) -> None:
    failed = make_call([USER], started_at=1.0, status=500, response=b'{"error": {"code": "oops", "message": ""}}')
    retried = make_call([USER], HELLO, started_at=2.0, retry=1)
    left = make_call([USER, HELLO, {"role": "user", "content": "l"}], HELLO, started_at=3.0)
    right = make_call(
        [USER, HELLO, {"role": "user", "content": "r"}], started_at=4.0, cancelled=True, response=b"data: {"
    )
    Ingest(store).apply([encode(record) for record in (right, retried, failed, left)], {})
    assert set(trajectory_of(store).values()) == {failed.call_id}
    rows = store.query(
        "SELECT call_id, turn, error, response_id IS NULL AS open, response_raw FROM calls ORDER BY started_at"
    )
    assert [(row["turn"], row["error"], row["open"]) for row in rows] == [
        (0, "oops", True),
        (0, "", False),
        (1, "", False),
        (1, "unreadable_response", True),
    ]
    assert [bool(row["response_raw"]) for row in rows] == [True, False, False, True]
    run = store.query("SELECT calls, success, success_source, first_at, last_at FROM trajectories")
    assert run == [
        {"calls": 3, "success": False, "success_source": "heuristic_cancelled", "first_at": 1.0, "last_at": 4.0}
    ]


def test_attempts_of_one_action_are_counted_once(store: Store, make_call: Make) -> None:
    failed = make_call([USER], started_at=1.0, status=500, response=b"{}")
    lost = make_call([USER], {"role": "assistant", "content": "lost"}, started_at=2.0)
    retried = make_call([USER], HELLO, started_at=3.0, retry=2)
    following = make_call([USER, HELLO, USER], HELLO, started_at=4.0)
    apart = make_call([USER], HELLO, started_at=500.0)
    ingest = Ingest(store)
    ingest.apply([encode(failed)], {})
    for again in (ingest, Ingest(store)):
        again.apply([encode(lost), encode(retried)], {})
    Ingest(store).apply([encode(following), encode(apart)], {})
    rows = store.query("SELECT call_id, retry_of, retried, trajectory_id, turn FROM calls ORDER BY started_at")
    assert [(row["retry_of"], bool(row["retried"])) for row in rows] == [
        (None, True),
        (failed.call_id, True),
        (lost.call_id, False),
        (None, False),
        (None, False),
    ]
    assert [row["turn"] for row in rows] == [0, 0, 0, 1, 0]
    assert store.rows("SELECT trajectory_id, calls FROM trajectories ORDER BY first_at") == [
        (failed.call_id, 2),
        (apart.call_id, 1),
    ]


def responses_call(make: Make, items: Any, name: str, at: float, **fields: Any) -> CallRecord:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": name}]}
    body = {"model": "m", "input": items, **fields}
    answer = {"id": name, "status": "completed", "output": [said], "usage": {"input_tokens": 3, "output_tokens": 4}}
    record = make([], started_at=at, status=200, endpoint="/v1/responses", caller="k")
    return msgspec.structs.replace(record, request=json.dumps(body).encode(), response=json.dumps(answer).encode())


@pytest.mark.parametrize("restart", [False, True])
def test_a_conversation_kept_by_the_provider_is_one_run(store: Store, make_call: Make, restart: bool) -> None:
    first = responses_call(make_call, "one", "resp_1", 1.0, instructions="S")
    second = responses_call(make_call, "two", "resp_2", 2.0, previous_response_id="resp_1")
    third = responses_call(make_call, "three", "resp_3", 90_000.0, previous_response_id="resp_2")
    unknown = responses_call(make_call, "four", "resp_4", 3.0, previous_response_id="resp_0")
    ingest = Ingest(store, Oracle())
    for record in (first, second, third, unknown):
        ingest.apply([encode(record)], {})
        ingest = Ingest(store, Oracle()) if restart else ingest
    found = trajectory_of(store)
    assert {found[record.call_id] for record in (first, second, third)} == {first.call_id}
    assert found[unknown.call_id] == unknown.call_id
    tail = store.value("SELECT response_id FROM calls WHERE call_id = CAST(? AS UUID)", [third.call_id])
    assert [message["content"] for message in messages_of(store, tail)] == [
        *("S", "one", "resp_1", "two", "resp_2", "three", "resp_3"),
    ]
    rows = store.rows("SELECT turn, prompt_tokens, completion_tokens, pattern_id, error FROM calls ORDER BY started_at")
    assert rows == [(turn, 3, 4, None, "") for turn in (0, 1, 0, 2)]


def test_a_label_that_somebody_gave_outlives_the_guesses(store: Store, make_call: Make) -> None:
    first, second = run_of(make_call, 1, 2, 1.0)
    ingest = Ingest(store)
    ingest.apply([encode(first)], {})
    store.execute("UPDATE trajectories SET success = FALSE, success_source = 'feedback'")
    ingest.apply([encode(second)], {})
    found = store.query("SELECT success, success_source, finished, calls FROM trajectories")
    assert found == [{"success": False, "success_source": "feedback", "finished": True, "calls": 2}]


def test_what_cannot_be_read_is_kept_raw_or_counted(store: Store, make_call: Make) -> None:
    odd = msgspec.structs.replace(make_call([USER], HELLO), request=b'{"messages": [oops')
    other = msgspec.structs.replace(make_call([USER], HELLO), endpoint="/v1/embeddings", request=b'{"input": "x"}')
    huge = make_call([{"role": "user", "content": "n", "n": 10**40}], HELLO, usage=(10**30, 5))
    nameless = msgspec.structs.replace(make_call([USER], HELLO), call_id="not-an-id")
    payloads = [b"", b"\xc1garbage", encode(nameless), *map(encode, (odd, other, huge))]
    report = Ingest(store).apply(payloads, {"w/1": 1})
    assert (report.calls, report.unreadable) == (3, 3)
    rows = {row["call_id"]: row for row in store.query("SELECT * FROM calls")}
    assert (rows[odd.call_id]["request_raw"], rows[odd.call_id]["error"]) == (odd.request, "bad_json")
    assert (rows[other.call_id]["request_raw"], rows[other.call_id]["response_raw"]) == (other.request, other.response)
    assert (rows[huge.call_id]["request_raw"], rows[huge.call_id]["prompt_tokens"]) == (None, None)
    assert rows[huge.call_id]["completion_tokens"] == 5
    assert store.value("SELECT count(*) FROM trajectories") == 1


def test_what_was_removed_is_stored_again_when_it_comes_again(store: Store, make_call: Make) -> None:
    ingest = Ingest(store)
    ingest.apply([encode(make_call([USER], HELLO, session="s"))], {})
    for table in ("calls", "trajectories", "messages"):
        store.execute(f"DELETE FROM {table}")
    store.removals += 1
    late = make_call([USER, HELLO, USER], HELLO, session="s", started_at=2_000.0)
    ingest.apply([encode(late)], {})
    assert trajectory_of(store) == {late.call_id: late.call_id}
    tail = store.value("SELECT response_id FROM calls")
    assert messages_of(store, tail) == [USER, HELLO, USER, HELLO]


ORPHAN = b'{"role": "tool", "tool_call_id": "nobody", "content": "42"}'
TWICE = b'{"role": "user", "content": "a", "content": "b", "role": "robot"}'
PARTS = b'{"role": "user", "content": [{"type": "hologram", "x": 1.50}, 7, null], "n": 1e400}'
DEEP = b'{"role": "user", "content": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"
HUGE = b'{"role": "user", "content": "' + b"x" * 3_000_000 + b'"}'
NO_UTF8 = b'{"role": "user", "content": "\xff\xfe"}'
NOT_CALLED = (
    b'{"role": "assistant", "tool_calls": [{"id": 7, "function": "f"}, null, {"function": {"arguments": "{"}}]}'
)


@pytest.mark.parametrize("raw", [ORPHAN, TWICE, PARTS, DEEP, HUGE, NO_UTF8, NOT_CALLED, b"7", b"[]", b"{}"])
@pytest.mark.parametrize("session", ["", "s"])
def test_odd_messages_are_stored_as_they_came(store: Store, raw: bytes, session: str) -> None:
    first = b'{"messages": [{"role": "user", "content": "hi"}], "seed": 1}'
    body = first.replace(b"}]", b"}, " + raw + b"]")
    fields: dict[str, Any] = {"started_at": 1.0, "status": 200, "session": session}
    records = [CallRecord(call_id=new_call_id(), request=request, **fields) for request in (first, body)]
    report = Ingest(store, Oracle()).apply([encode(record) for record in records], {})
    assert report.calls == 2
    sql = "SELECT request_raw, request_tail, error FROM calls WHERE call_id = CAST(? AS UUID)"
    [(kept, tail, error)] = store.rows(sql, [records[1].call_id])
    if kept is None:
        assert store.value("SELECT body FROM messages WHERE message_id = ?", [tail]).encode() == raw
    else:
        assert (kept, bool(error)) == (body, True)


ENDPOINTS = ("chat/completions", "responses", "messages", "completions", "embeddings", "files")
KEYS = ("role", "content", "tool_calls", "function", "name", "message", "type", "call_id")
MEMBERS = (
    "messages",
    "input",
    "system",
    "tools",
    "tool_choice",
    "choices",
    "output",
    "content",
    "usage",
    "id",
    "error",
)
bodies = st.binary(max_size=60) | st.builds(
    lambda value: json.dumps(dict.fromkeys(MEMBERS, value)).encode(),
    st.recursive(
        st.none() | st.integers() | st.text(st.characters()) | st.floats(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
        max_leaves=12,
    ),
)


class Oracle:
    """A recogniser that keeps quiet for some calls and then knows all of them."""

    def __init__(self, patience: int = 3) -> None:
        self.patience = patience
        self.waiting: list[str] = []
        self.fresh: list[PatternEntry] = []

    def observe(self, call_id: str, facts: Facts, hint: str = "") -> Recognised | None:
        if self.patience > len(self.waiting):
            self.waiting.append(call_id)
            return None
        return Recognised("p_1", "a_1")

    def settled(self) -> list[Assignment]:
        if len(self.waiting) < self.patience or not self.patience:
            return []
        self.patience = 0
        entry = PatternEntry(pattern_id="p_1", agent_id="a_1", name="n", version=1, role="user", agent_key="k")
        self.fresh.append(entry)
        return [Assignment(call_id, "p_1", "a_1") for call_id in self.waiting]

    def new_patterns(self) -> list[PatternEntry]:
        found, self.fresh = self.fresh, []
        return found


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(bodies, bodies, st.sampled_from(ENDPOINTS)), max_size=5))
def test_nothing_stops_the_log(store: Store, calls: list[tuple[bytes, bytes, str]]) -> None:
    fields: dict[str, Any] = {"started_at": 1.0, "status": 200, "session": "s"}
    records = [
        CallRecord(call_id=new_call_id(), endpoint=f"/v1/{end}", request=request, response=response, **fields)
        for request, response, end in calls
    ]
    report = Ingest(store, Oracle()).apply([encode(record) for record in records], {})
    assert (report.calls, report.unreadable) == (len(records), 0)


def test_calls_that_were_waiting_get_their_pattern_later(store: Store, make_call: Make) -> None:
    records = [make_call([{"role": "user", "content": f"{n}"}], HELLO, started_at=float(n)) for n in range(5)]
    ingest = Ingest(store, Oracle())
    ingest.apply([encode(record) for record in records[:2]], {})
    assert store.rows("SELECT DISTINCT pattern_id FROM calls") == [(None,)]
    ingest.apply([encode(record) for record in records[2:]], {})
    assert store.rows("SELECT DISTINCT pattern_id, agent_id FROM calls") == [("p_1", "a_1")]
    assert store.rows("SELECT DISTINCT agent_id FROM trajectories") == [("a_1",)]
    assert store.query("SELECT pattern_id, version, name FROM patterns") == [
        {"pattern_id": "p_1", "version": 1, "name": "n"}
    ]


@pytest.mark.parametrize("first", [2, 5])
def test_calls_that_settle_in_their_own_batch_are_stored_with_their_pattern(
    store: Store, make_call: Make, first: int
) -> None:
    calls = [make_call([{"role": "user", "content": f"{n}"}], HELLO, started_at=float(n)) for n in range(5)]
    stored: list[Any] = []
    ingest = Ingest(store, Oracle(), on_stored=lambda rows: stored.extend(rows["pattern_id"].to_pylist()))
    for batch in (calls[:first], calls[first:]):
        ingest.apply([encode(call) for call in batch], {})
    assert stored == [None] * (2 if first == 2 else 0) + ["p_1"] * (3 if first == 2 else 5)
    assert store.rows("SELECT DISTINCT pattern_id, agent_id FROM calls") == [("p_1", "a_1")]
    assert store.rows("SELECT DISTINCT agent_id FROM trajectories") == [("a_1",)]
    assert store.rows("SELECT pattern_id, sum(calls) FROM traffic_hours GROUP BY ALL") == [("p_1", 5)]


def test_after_a_restart_waiting_calls_are_shown_again(store: Store, make_call: Make) -> None:
    records = [make_call([{"role": "user", "content": f"{n}"}], HELLO, started_at=float(n)) for n in range(3)]
    Ingest(store, Oracle(patience=5)).apply([encode(record) for record in records], {})
    fresh = Oracle(patience=3)
    assert Ingest(store, fresh).resume() == 3
    assert fresh.waiting == [record.call_id for record in records]
    assert store.rows("SELECT DISTINCT pattern_id, agent_id FROM calls") == [("p_1", "a_1")]


class Refusing(Oracle):
    def new_patterns(self) -> list[PatternEntry]:
        raise OSError("disk full")


def test_a_batch_that_fails_leaves_nothing_behind_and_can_be_repeated(store: Store, make_call: Make) -> None:
    records = run_of(make_call, 1, 3, 1.0)
    ingest = Ingest(store)
    ingest.apply([encode(records[0])], {"w/1": 1})
    before = contents(store)
    ingest.recogniser = Refusing()
    with pytest.raises(OSError, match="disk full"):
        ingest.apply([encode(record) for record in records], {"w/1": 3})
    assert contents(store) == before
    ingest.recogniser = None
    assert ingest.apply([encode(record) for record in records], {"w/1": 3}).calls == 2
    assert set(trajectory_of(store).values()) == {records[0].call_id}
    assert store.value("SELECT count(*) FROM messages") == 7


RECORDED = Path(__file__).parents[2] / "shared" / "data" / "dev"


def recorded_calls(make: Make, path: Path, limit: int, agents: int) -> Iterator[tuple[str, CallRecord]]:
    """(true trajectory, record) of recorded runs, `agents` of them at a time, in random order."""
    rng = random.Random(0)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        runs = [json.loads(line) for line in itertools.islice(file, limit)]
    rng.shuffle(runs)
    waiting = iter(runs)
    active = [(run, iter(run["calls"])) for run in itertools.islice(waiting, agents)]
    at = 1e9
    while active:
        place = rng.randrange(len(active))
        run, calls = active[place]
        call = next(calls, None)
        if call is None:
            following = next(waiting, None)
            active[place : place + 1] = [] if following is None else [(following, iter(following["calls"]))]
            continue
        at += 0.05
        messages = run["messages"]
        yield run["trajectory_id"], make(messages[: call["i"]], messages[call["i"]], tools=run["tools"], started_at=at)


def pairs(groups: dict[str, str]) -> set[tuple[str, str]]:
    members: dict[str, list[str]] = collections.defaultdict(list)
    for call_id, group in sorted(groups.items()):
        members[group].append(call_id)
    return {pair for listed in members.values() for pair in itertools.combinations(listed, 2)}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "limit"), [("tau", 250), ("ha_assist", 2500)])
def test_recorded_traffic_of_fifty_agents_at_once(
    store: Store, make_call: Make, name: str, limit: int, record_property: Callable[[str, object], None]
) -> None:
    path = RECORDED / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the recorded traffic is not here: {path}")
    truth: dict[str, str] = {}
    payloads, raw = [], 0
    for trajectory, record in recorded_calls(make_call, path, limit, agents=50):
        truth[record.call_id] = trajectory
        payloads.append(encode(record))
        raw += len(record.request) + len(record.response)
    ingest, started, cpu = Ingest(store), time.perf_counter(), time.process_time()
    for position in range(0, len(payloads), 500):
        ingest.apply(payloads[position : position + 500], {"w/1": position})
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    store.checkpoint()
    found, expected = pairs(trajectory_of(store)), pairs(truth)
    right = len(found & expected)
    figures = {
        "calls": len(payloads),
        "pairs": len(expected),
        "precision": right / len(found),
        "recall": right / len(expected),
        "calls_per_s": round(len(payloads) / seconds),
        "calls_per_cpu_s": round(len(payloads) / cpu),
        "bytes_per_call": store.bytes_on_disk() // len(payloads),
        "raw_bytes_per_call": raw // len(payloads),
    }
    print(name, figures)
    for key, value in figures.items():
        record_property(key, value)
    assert figures["precision"] >= 0.999
    assert figures["recall"] >= 0.999
    assert figures["bytes_per_call"] < figures["raw_bytes_per_call"] / 4
