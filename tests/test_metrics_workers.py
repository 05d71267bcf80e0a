"""Workers' counts on their way to the control plane: through a file, added up, never falling."""

import mmap
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tutelage.proxy.metrics_workers import (
    OVERHEAD_STEPS_S,
    REPORT_BYTES,
    SILENT_S,
    Noticeboard,
    Overhead,
    Report,
    Totals,
    is_alive,
    read_report,
)
from tutelage.proxy.shared_file import HEAD_BYTES

NOW = 1_800_000_000.0


def shown(folder: Path, **fields: Any) -> Noticeboard:
    board = Noticeboard(folder)
    board.show(report(**fields))
    return board


def report(**fields: Any) -> Report:
    return Report(**{"at": NOW, "pid": os.getpid()} | fields)


def totals(folder: Path, now: float = NOW, alive: bool = True) -> Totals:
    return Totals(folder, lambda: now, lambda _: alive)


def test_a_report_arrives_as_it_was_shown(tmp_path: Path) -> None:
    overhead = Overhead()
    for seconds in (10e-6, 0.2e-3, 5.0):
        overhead.note("teacher", seconds)
    board = shown(tmp_path, appended=7, breakers={"default": {"state": "open", "opened": 2}}, overhead=overhead.steps)
    [path] = tmp_path.iterdir()
    found = read_report(path)
    assert found is not None
    assert (found.appended, found.breakers["default"]["opened"]) == (7, 2)
    assert len(found.overhead["teacher"]) == len(OVERHEAD_STEPS_S) + 2
    assert found.overhead["teacher"][-2:] == [1.0, pytest.approx(5.00021)]
    board.close()


def test_counts_of_several_workers_add_up_and_outlive_them(tmp_path: Path) -> None:
    first, second = shown(tmp_path, lost=3, in_flight=1), shown(tmp_path, lost=4, in_flight=2)
    sums = totals(tmp_path)
    sums.read()
    sums.read()
    assert sums.counts["lost"] == 7
    assert sum(one.in_flight for one in sums.reports) == 3
    second.show(report(lost=6, in_flight=0, overhead={"student": [1.0, 2.0]}))
    sums.read()
    assert sums.counts["lost"] == 9
    # All workers end; one comes that has counted nothing yet.
    first.close()
    second.close()
    sums.clock, sums.alive = lambda: NOW + SILENT_S + 1, lambda _: False
    sums.read()
    assert list(tmp_path.iterdir()) == []
    third = shown(tmp_path, at=NOW + SILENT_S)
    sums.read()
    assert sums.counts["lost"] == 9
    assert sums.overhead == {"student": [1.0, 2.0]}
    assert len(sums.reports) == 1
    third.close()


def test_a_worker_that_is_silent_but_alive_keeps_its_file(tmp_path: Path) -> None:
    board = shown(tmp_path, lost=1)
    sums = totals(tmp_path, NOW + 10 * SILENT_S, alive=True)
    sums.read()
    assert sums.reports == []
    assert sums.counts["lost"] == 1
    assert len(list(tmp_path.iterdir())) == 1
    board.close()


def test_a_report_that_is_half_written_is_not_taken(tmp_path: Path) -> None:
    board = shown(tmp_path, lost=1)
    [path] = tmp_path.iterdir()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[HEAD_BYTES + 12] ^= 1
    assert read_report(path) is None
    totals(tmp_path).read()
    board.close()


@pytest.mark.parametrize("name", ["not-a-number.bin", "12x-1.bin", "readme.txt"])
def test_other_files_of_the_folder_do_no_harm(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x" * 100)
    sums = totals(tmp_path)
    sums.read()
    assert sums.reports == []


def test_breakers_that_let_nothing_through(tmp_path: Path) -> None:
    boards = [
        shown(tmp_path, breakers={"default": {"state": state, "opened": 2}, "other": {"state": "closed", "opened": 0}})
        for state in ("open", "closed", "half_open")
    ]
    sums = totals(tmp_path)
    sums.read()
    assert sums.open_breakers() == {"default": 2, "other": 0}
    assert sums.opened == {"default": 6, "other": 0}
    for board in boards:
        board.close()


def test_a_report_that_is_too_long_goes_without_its_breakers(tmp_path: Path) -> None:
    many = {f"teacher-{n}": {"state": "closed"} for n in range(REPORT_BYTES // 20)}
    board = shown(tmp_path, appended=5, breakers=many)
    [path] = tmp_path.iterdir()
    found = read_report(path)
    assert found is not None
    assert (found.appended, found.breakers) == (5, {})
    board.close()


def test_where_no_file_can_be_made_the_worker_works_all_the_same(tmp_path: Path) -> None:
    board = shown(tmp_path / "missing", lost=1)
    assert totals(tmp_path / "missing").read() is None
    board.close()


def test_whether_a_process_is_there() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert is_alive(os.getpid())
    assert not is_alive(gone.pid)
    assert is_alive(1)
