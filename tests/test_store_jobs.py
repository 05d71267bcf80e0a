"""Long work on the store: one at a time, with its progress, its result and its error."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tutelage.proxy.options import StoreOptions
from tutelage.proxy.store_jobs import JobStatus, StoreJobs, StoreOrder
from tutelage.traffic.errors import BadInput, UnknownName
from tutelage.traffic.verify import verify

USER, HELLO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}


def jobs_of(world: Any, options: StoreOptions | None = None) -> StoreJobs:
    return StoreJobs(world.plane.store, world.plane.keeper, world.data, options or StoreOptions(), lambda: world.now)


def done(jobs: StoreJobs, order: StoreOrder) -> JobStatus:
    status, until = jobs.start(order), time.monotonic() + 60
    while not status.finished:
        assert time.monotonic() < until
        time.sleep(0.005)
        status = jobs.status(status.job)
    return status


def test_all_kinds_of_work(control_world: Any, tmp_path: Path) -> None:
    world = control_world
    world.play(40)
    jobs = jobs_of(world, StoreOptions(keep_days=1.0))
    checked = done(jobs, StoreOrder("verify"))
    assert (checked.result["found"], checked.result["calls"], checked.error) == (0, 40, "")
    assert checked.done == checked.total > 0
    written = done(jobs, StoreOrder("export", path=str(tmp_path / "out")))
    assert written.result["rows"]["calls"] == 40
    world.now += 2 * 86_400.0
    assert done(jobs, StoreOrder("prune", dry_run=True)).result["calls"] == 40
    assert done(jobs, StoreOrder("prune")).result["calls"] == 40
    assert done(jobs, StoreOrder("compact")).error == ""
    assert world.plane.store.value("SELECT count(*) FROM calls") == 0
    back = done(jobs, StoreOrder("import", path=str(tmp_path / "out")))
    assert back.error == ""
    assert (back.result["form"], back.result["new"]) == ("own", 40)
    assert verify(world.plane.store).found == 0
    world.play(2)  # the agents' own calls still find their way
    assert world.plane.store.value("SELECT count(*) FROM calls") == 42


def test_imported_calls_get_patterns_and_leave_no_journal(control_world: Any, tmp_path: Path) -> None:
    world, path = control_world, tmp_path / "log.jsonl"
    system = {"role": "system", "content": "You answer.\nShortly."}
    rows = [{"messages": [system, {"role": "user", "content": f"q {number}"}, HELLO]} for number in range(40)]
    path.write_text("\n".join(map(json.dumps, rows)))
    jobs = jobs_of(world)
    assert done(jobs, StoreOrder("import", path=str(path))).result["new"] == 40
    assert world.plane.store.value("SELECT count(DISTINCT pattern_id) FROM calls") == 1
    assert done(jobs, StoreOrder("import", path=str(path))).result["known"] == 40
    world.plane.catch_up()
    assert world.plane.keeper.pending_sessions == 0


def test_orders_that_make_no_sense(control_world: Any, tmp_path: Path) -> None:
    jobs = jobs_of(control_world)
    with pytest.raises(BadInput, match="no job 'dance'"):
        jobs.start(StoreOrder("dance"))
    with pytest.raises(BadInput, match="must be absolute"):
        jobs.start(StoreOrder("export", path="here"))
    with pytest.raises(UnknownName, match="no job 7"):
        jobs.status(7)
    for order, words in (
        (StoreOrder("prune"), "Nothing limits the store"),
        (StoreOrder("import", path=str(tmp_path / "none")), "cannot be read"),
    ):
        status = done(jobs, order)
        assert status.error_type == "BadInput"
        assert words in status.error


def test_one_at_a_time(control_world: Any) -> None:
    jobs, store = jobs_of(control_world), control_world.plane.store
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with store.transaction():
            entered.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(10)
    first = jobs.start(StoreOrder("compact"))  # waits for the transaction
    try:
        with pytest.raises(BadInput, match="compact is still at work"):
            jobs.start(StoreOrder("verify"))
    finally:
        leave.set()
        holder.join(10)
    until = time.monotonic() + 60
    while not jobs.status(first.job).finished and time.monotonic() < until:
        time.sleep(0.005)
    assert done(jobs, StoreOrder("verify")).job == first.job + 1
