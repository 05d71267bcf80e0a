"""One run is erased: nothing of it is left, nothing of the others is touched, and who learnt from it is told."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_student import register_scripted
from test_retention import NOW, contents, fill

from tutelage.traffic.conversations import answers_of, requests_of
from tutelage.traffic.erasure import Learnt, erase
from tutelage.traffic.errors import BadInput, UnknownName
from tutelage.traffic.layout import DataDir
from tutelage.traffic.store import Store
from tutelage.traffic.students import LINEAGE, StudentRegister
from tutelage.traffic.verify import verify

VERSION = "desk@000000000000"


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data").prepare()


@pytest.fixture
def store(data: DataDir, make_call: Callable[..., Any]) -> Iterator[Store]:
    with Store(data.store) as opened:
        fill(opened, make_call, 9)
        yield opened


def runs(store: Store) -> list[str]:
    return [name for (name,) in store.rows("SELECT trajectory_id FROM trajectories ORDER BY first_at")]


def calls_of(store: Store, run: str) -> list[str]:
    return [str(call) for (call,) in store.rows("SELECT call_id FROM calls WHERE trajectory_id = ?", [run])]


def test_what_others_share_stays_and_nothing_else_of_the_run(data: DataDir, store: Store) -> None:
    run = runs(store)[5]
    ids = [str(call) for (call,) in store.rows("SELECT call_id FROM calls")]
    gone = calls_of(store, run)
    requests, answers = requests_of(store, ids), answers_of(store, ids)
    erased = erase(store, StudentRegister(data), run, NOW)
    assert (erased.trajectory_id, erased.calls, erased.comparisons, erased.learnt_by) == (run, len(gone), len(gone), ())
    assert erased.messages > 0
    assert erased.bytes > 0
    report = verify(store)
    assert (report.problems, report.unreferenced_messages, report.unreferenced_toolsets) == ([], 0, 0)
    kept = [one for one in ids if one not in gone]
    assert requests_of(store, kept) == {one: requests[one] for one in kept if one in requests}
    assert answers_of(store, kept) == {one: answers[one] for one in kept}
    assert "a5 2 long" not in json.dumps(contents(store)["messages"], default=str)
    with pytest.raises(UnknownName, match=run):
        erase(store, StudentRegister(data), run, NOW)


def test_a_dry_run_says_the_same_and_changes_nothing(data: DataDir, store: Store) -> None:
    run, before = runs(store)[2], contents(store)
    would = erase(store, StudentRegister(data), run, NOW, dry_run=True)
    assert contents(store) == before
    assert erase(store, StudentRegister(data), run, NOW) == would


def test_versions_that_learnt_from_it_are_named(data: DataDir, store: Store) -> None:
    register, (first, second, *_) = StudentRegister(data), runs(store)
    register_scripted(data.root, VERSION, [{"agent_id": "a_1", "pattern_id": "p_1"}])
    lessons = [{"row": str(n), "trajectory_id": first, "call_ids": calls_of(store, first)} for n in range(3)]
    (register.path(VERSION) / LINEAGE).write_text("\n".join(map(json.dumps, lessons)))
    register.retire(VERSION, "ada", "an erasure", NOW)
    assert erase(store, register, first, NOW).learnt_by == (Learnt(VERSION, "retired", 3),)
    assert erase(store, register, second, NOW).learnt_by == ()


def test_a_run_that_may_go_on_is_not_erased(data: DataDir, store: Store) -> None:
    run = runs(store)[-1]
    [(last,)] = store.rows("SELECT max(started_at) FROM calls WHERE trajectory_id = ?", [run])
    before = contents(store)
    with pytest.raises(BadInput, match="Try again in 50 minutes"):
        erase(store, StudentRegister(data), run, last + 600.0)
    assert contents(store) == before
