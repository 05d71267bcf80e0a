"""Files of every form into the store: once each, however often, and odd rows stop nothing."""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.traffic.conversations import request_of
from tutelage.traffic.errors import BadInput
from tutelage.traffic.importing import FORMS, ImportReport, Skipped, import_calls
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store
from tutelage.traffic.verify import verify

USER, HELLO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
THANKS, BYE = {"role": "user", "content": "thanks"}, {"role": "assistant", "content": "bye"}
CHOICES = [{"index": 0, "message": HELLO, "finish_reason": "stop"}]
ROWS: dict[str, dict[str, Any]] = {
    "chat": {"messages": [USER, HELLO]},
    "openai": {"object": "chat.completion", "id": "c1", "created": 1_000, "choices": CHOICES, "messages": [USER]},
    "langfuse": {
        "id": "o1",
        "traceId": "t",
        "type": "GENERATION",
        "startTime": 1_000,
        "input": [USER],
        "output": HELLO,
    },
    "litellm": {
        "id": "l1",
        "call_type": "completion",
        "model_parameters": {},
        "startTime": 1_000.0,
        "messages": [USER],
        "response": {"choices": CHOICES},
    },
}


class World:
    """A store and the way into it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(folder / "store.duckdb")
        self.ingest = Ingest(self.store)
        self.now = 5_000.0

    def intake(self, records: Sequence[CallRecord]) -> None:
        self.ingest.apply([encode(record) for record in records], {})

    def take(self, content: Any, name: str = "log.jsonl", **options: Any) -> ImportReport:
        path = self.folder / name
        if isinstance(content, list):
            content = "\n".join(json.dumps(row) for row in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.now += 1_000.0
        report = import_calls(self.store, path, self.intake, now=self.now, **options)
        assert verify(self.store).found == 0
        return report

    @property
    def calls(self) -> int:
        return self.store.value("SELECT count(*) FROM calls")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.store.close()


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_told_and_repeating_changes_nothing(world: World, form: str) -> None:
    report = world.take([ROWS[form]])
    assert (report.form, report.rows, report.calls, report.new, report.skipped) == (form, 1, 1, 1, {})
    [row] = world.store.query("SELECT call_id, caller, reason, status, finish_reason, started_at FROM calls")
    assert (row["caller"], row["reason"], row["status"]) == (f"import:{form}", "imported", 200)
    assert row["finish_reason"] == "stop"
    assert row["started_at"] == (world.now + 1e-6 if form == "chat" else 1_000.0)
    assert request_of(world.store, row["call_id"])["messages"] == [USER]
    again = world.take([ROWS[form]], name="renamed.jsonl")
    assert (again.new, again.known, world.calls) == (0, 1, 1)


def test_turns_of_a_conversation_become_one_run(world: World) -> None:
    world.take([{"messages": [USER, HELLO, THANKS, BYE]}])
    assert world.store.rows("SELECT calls FROM trajectories") == [(2,)]


def test_equal_rows_without_an_id_are_calls_of_their_own(world: World) -> None:
    rows = [ROWS["chat"], ROWS["chat"], {"messages": [USER, BYE]}]
    assert world.take(rows).new == 3
    assert world.take(rows).new == 0
    assert world.take([*rows, ROWS["chat"]]).new == 1


def test_equal_ids_count_once(world: World) -> None:
    report = world.take([ROWS["openai"], {**ROWS["openai"], "created": 2_000}])
    assert (report.calls, report.new, report.known) == (2, 1, 1)


@pytest.mark.parametrize(
    "content",
    [
        json.dumps([ROWS["openai"]]),
        json.dumps([ROWS["openai"]], indent=1),
        json.dumps({"object": "list", "data": [ROWS["openai"]]}),
        json.dumps({"object": "list", "data": [ROWS["openai"]]}, indent=1),
        json.dumps(ROWS["openai"], indent=1),
        "\n\n" + json.dumps(ROWS["openai"]) + "\n\n",
        "{broken\n" + json.dumps(ROWS["openai"]),
        b"\xef\xbb\xbf" + json.dumps(ROWS["openai"]).encode(),
        gzip.compress(json.dumps(ROWS["openai"]).encode()),
    ],
)
def test_ways_to_write_a_file(world: World, content: Any) -> None:
    assert world.take(content).new == 1


def test_odd_rows_are_skipped_with_their_reason(world: World) -> None:
    rows = [
        ROWS["chat"],
        5,
        None,
        [],
        {"messages": []},
        {"messages": [7]},
        {"messages": {"a": 1}},
        {"messages": [USER]},
    ]
    content = "\n".join(json.dumps(row) for row in rows) + "\n{broken\n" + json.dumps({"messages": [USER, BYE]})
    report = world.take(content)
    assert (report.rows, report.new) == (10, 2)
    assert sum(report.skipped.values()) == 8
    assert report.skipped["the line is no JSON"] == 1
    assert report.examples[0] == Skipped(2, "the row is no JSON object")


def test_a_packed_file_that_was_cut_off_gives_what_it_has(world: World) -> None:
    rows = "\n".join(
        json.dumps({"messages": [{"role": "user", "content": f"{n:x}" * 50}, HELLO]}) for n in range(3_000)
    )
    packed = gzip.compress(rows.encode())
    report = world.take(packed[: len(packed) // 2])
    assert 0 < report.new < 3_000
    assert any("ends in the middle" in reason for reason in report.skipped)


def test_killed_half_way_it_goes_on(world: World) -> None:
    rows = [{"messages": [{"role": "user", "content": str(number)}, HELLO]} for number in range(500)]
    path = world.folder / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))

    def die(records: Sequence[CallRecord]) -> None:
        world.intake(records)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_calls(world.store, path, die, now=1.0)
    assert 0 < world.calls < 500
    before = world.calls
    report = import_calls(world.store, path, world.intake, now=2.0)
    assert (report.new, report.known, world.calls) == (500 - before, before, 500)


def test_progress_ends_at_the_end(world: World) -> None:
    path, seen = world.folder / "log.jsonl", []
    path.write_text("\n".join(json.dumps({"messages": [USER, HELLO], "id": str(n)}) for n in range(50)))
    import_calls(world.store, path, world.intake, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (path.stat().st_size,) * 2


def test_files_that_cannot_be_used(world: World) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        import_calls(world.store, world.folder / "none.jsonl", world.intake)
    for content in ("", "{broken", "[]", '{"a": 1}'):
        with pytest.raises(BadInput, match="none: own, langfuse"):
            world.take(content)
    with pytest.raises(BadInput, match="no form 'csv'"):
        world.take([ROWS["chat"]], form="csv")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), form=st.sampled_from(list(FORMS)))
def test_no_row_makes_it_fail(world: World, data: st.DataObject, form: str) -> None:
    row = dict(ROWS[form])
    for name in data.draw(st.lists(st.sampled_from(list(row)), max_size=3)):
        row[name] = data.draw(JSON)
    messages = data.draw(st.lists(st.fixed_dictionaries({"role": JSON, "content": JSON}), max_size=2))
    report = world.take([ROWS[form], row, {**ROWS[form], "messages": messages, "input": messages}], form=form)
    assert report.rows == 3
    assert world.take([ROWS[form], row], form=form).new == 0
