"""The rules of docs/trajectories.md, one test each: whole calls go through ingest, and the store tells their runs."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tutelage.proxy.identify import session_key
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store

Message = dict[str, Any]
SYSTEM = {"role": "system", "content": "You work at a parcel desk."}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def said(text: str) -> Message:
    return {"role": "assistant", "content": text}


def act(*names: str) -> Message:
    calls = [
        {"id": f"call_{name}", "type": "function", "function": {"name": "track", "arguments": f'{{"parcel":"{name}"}}'}}
        for name in names
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(name: str) -> Message:
    return {"role": "tool", "tool_call_id": f"call_{name}", "content": f"{name} is on its way"}


class Desk:
    """Writes calls down one after the other, a second apart, and asks the store where they belong."""

    def __init__(self, store: Store, make: Callable[..., CallRecord]) -> None:
        self._store, self._make, self._ingest, self._at = store, make, Ingest(store), 1_000.0

    def record(self, messages: list[Message], answer: Message | None, **fields: Any) -> CallRecord:
        self._at += fields.pop("after", 1.0)
        session = session_key("", fields.get("trajectory", ""), {"messages": messages})
        return self._make(messages, answer, started_at=self._at, session=session, **fields)

    def call(self, messages: list[Message], answer: Message | None, **fields: Any) -> tuple[str, int]:
        """The run and the turn of a call that is written down now."""
        record = self.record(messages, answer, **fields)
        self.apply(record)
        return self.place(record)

    def apply(self, *records: CallRecord) -> None:
        self._ingest.apply([encode(record) for record in records], {})

    def place(self, record: CallRecord) -> tuple[str, int]:
        [place] = self._store.rows("SELECT trajectory_id, turn FROM calls WHERE call_id = ?", [record.call_id])
        return place

    def restart(self) -> None:
        self._ingest = Ingest(self._store)


@pytest.fixture
def desk(tmp_path: Path, make_call: Callable[..., CallRecord]) -> Iterator[Desk]:
    with Store(tmp_path / "store.duckdb") as store:
        yield Desk(store, make_call)


OPENING = [SYSTEM, user("Where are my parcels?")]
ASKED = [*OPENING, act("A", "B"), result("A"), result("B")]
TOLD = [*ASKED, said("Both are on their way."), user("And C?")]


def begin(desk: Desk) -> str:
    """A run of three calls; returns its name."""
    name, turn = desk.call(OPENING, ASKED[2])
    assert turn == 0
    assert desk.call(ASKED, TOLD[5]) == (name, 1)
    return name


def test_an_extension_belongs_to_its_run_also_after_a_restart(desk: Desk) -> None:
    name = begin(desk)
    desk.restart()
    assert desk.call(TOLD, act("C")) == (name, 2)


def test_forks_are_branches_of_one_run(desk: Desk) -> None:
    name = begin(desk)
    assert desk.call(TOLD, act("C")) == (name, 2)
    assert desk.call([*TOLD[:-1], user("When?")], said("Tomorrow.")) == (name, 2)
    assert desk.call([*OPENING, act("A", "B"), result("A"), result("B"), user("Be short.")], said("Soon.")) == (name, 1)


def test_a_retry_has_the_turn_of_what_it_repeats(desk: Desk) -> None:
    name, _ = desk.call(OPENING, None, status=500)
    assert desk.call(OPENING, ASKED[2]) == (name, 0)
    assert desk.call(OPENING, act("B", "A"), retry=1) == (name, 0)
    assert desk.call([*OPENING, act("B", "A"), result("A"), result("B")], said("Soon.")) == (name, 1)


def test_the_same_request_without_failure_or_retry_count_is_a_run_of_its_own(desk: Desk) -> None:
    name = begin(desk)
    assert desk.call(OPENING, act("A"))[0] != name


def test_edited_history_leads_to_the_last_answer_before_the_edit(desk: Desk) -> None:
    name = begin(desk)
    changed = [*OPENING, act("A", "B"), result("A"), {**result("B"), "content": "[removed]"}, *TOLD[5:]]
    assert desk.call(changed, act("C")) == (name, 1)


def test_an_edited_answer_leads_home_by_its_question(desk: Desk) -> None:
    name = begin(desk)
    assert desk.call([*ASKED, said("On their way."), user("And C?")], act("C")) == (name, 2)


def test_an_edited_opening_with_an_answer_that_was_not_given_is_a_new_run(desk: Desk) -> None:
    name = begin(desk)
    assert desk.call([SYSTEM, user("Where is A?"), said("It left."), user("And C?")], act("C"))[0] != name


def test_trimmed_history_that_keeps_the_opening_is_the_same_run(desk: Desk) -> None:
    name = begin(desk)
    trimmed = [*OPENING, said("Both are on their way."), user("And C?")]
    assert desk.call(trimmed, act("C"))[0] == name


def test_history_trimmed_from_the_front_is_a_new_run_unless_it_is_named(desk: Desk) -> None:
    name = begin(desk)
    window = [SYSTEM, said("Both are on their way."), user("And C?")]
    assert desk.call(window, act("C"))[0] != name
    first = desk.call(OPENING, ASKED[2], trajectory="mine")
    assert first == ("x:mine", 0)
    assert desk.call(window, act("C"), trajectory="mine")[0] == "x:mine"


def test_summarised_history_is_the_same_run_only_with_opening_and_last_answer(desk: Desk) -> None:
    name = begin(desk)
    summary = user("Summary: A and B are on their way.")
    kept = [*OPENING, said("Summary: A and B were looked up."), user("Go on."), *TOLD[5:]]
    assert desk.call(kept, act("C"))[0] == name
    assert desk.call([SYSTEM, summary, user("And D?")], act("D"))[0] != name


def test_a_clock_in_the_system_prompt_does_not_cut_a_run(desk: Desk) -> None:
    clocks = [{"role": "system", "content": f"It is 12:{minute:02}."} for minute in range(3)]
    name, _ = desk.call([clocks[0], *OPENING[1:]], ASKED[2])
    assert desk.call([clocks[1], *ASKED[1:]], TOLD[5]) == (name, 1)
    assert desk.call([clocks[2], *TOLD[1:]], act("C")) == (name, 2)


def test_two_runs_with_a_clock_are_kept_apart_by_what_they_were_told(desk: Desk) -> None:
    names = [desk.call([{"role": "system", "content": f"It is {n}:00."}, OPENING[1]], said(f"{n}"))[0] for n in (8, 9)]
    for n, name in ((9, names[1]), (8, names[0])):
        later = [{"role": "system", "content": f"It is {n}:30."}, OPENING[1], said(f"{n}"), user("And now?")]
        assert desk.call(later, said("Now.")) == (name, 1)


def test_tool_results_may_come_in_any_order(desk: Desk) -> None:
    name, _ = desk.call(OPENING, ASKED[2])
    swapped = [*ASKED[:3], result("B"), result("A")]
    assert desk.call(swapped, TOLD[5]) == (name, 1)
    assert desk.call([*swapped, *TOLD[5:]], act("C")) == (name, 2)


def test_results_that_are_put_in_order_later_stay_in_the_run(desk: Desk) -> None:
    name, _ = desk.call(OPENING, ASKED[2])
    assert desk.call([*ASKED[:3], result("B"), result("A")], TOLD[5]) == (name, 1)
    assert desk.call(TOLD, act("C"))[0] == name


def test_a_call_that_was_sent_before_all_results_were_there_stays_in_the_run(desk: Desk) -> None:
    name, _ = desk.call(OPENING, ASKED[2])
    assert desk.call([*ASKED[:3], result("B")], said("A is missing.")) == (name, 1)
    assert desk.call(ASKED, TOLD[5]) == (name, 1)


def test_calls_of_one_batch_may_lie_in_any_order(desk: Desk) -> None:
    records = [desk.record(OPENING, ASKED[2]), desk.record(ASKED, TOLD[5]), desk.record(TOLD, act("C"))]
    mixed = list(records)
    random.Random(3).shuffle(mixed)
    desk.apply(*mixed)
    assert [desk.place(record) for record in records] == [(records[0].call_id, turn) for turn in range(3)]


def test_a_call_that_is_stored_after_its_successor_is_a_run_of_its_own(desk: Desk) -> None:
    first, second = desk.record(OPENING, ASKED[2]), desk.record(ASKED, TOLD[5])
    desk.apply(second)
    desk.apply(first)
    assert desk.place(second)[0] == second.call_id
    assert desk.place(first) == (first.call_id, 0)


def test_explicit_ids_win_over_a_common_history_and_over_a_different_one(desk: Desk) -> None:
    begin(desk)
    assert desk.call(TOLD, act("C"), trajectory="other")[0] == "x:other"
    assert desk.call([SYSTEM, user("Something else")], said("Yes."), trajectory="other")[0] == "x:other"
    assert desk.call([*TOLD, act("C"), result("C")], said("Soon."))[0] == "x:other"


def test_runs_never_cross_callers(desk: Desk) -> None:
    name = begin(desk)
    assert desk.call(TOLD, act("C"), caller="somebody else")[0] != name
