"""A process steps back, with all its threads, and with its group of the scheduler where that is its own."""

import os
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest

from tutelage.traffic import priority
from tutelage.traffic.priority import CONTROL_NICE

GROUP = Path("/proc/self/autogroup")
PROGRAM = """
import os, sys, threading
from tutelage.traffic.priority import step_back

found, ready, go = {}, threading.Event(), threading.Event()

def old():
    ready.set()
    go.wait()
    found["old"] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

def new():
    found["new"] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

thread = threading.Thread(target=old)
thread.start()
ready.wait()
os.nice(int(sys.argv[1]))
step_back()
go.set()
thread.join()
later = threading.Thread(target=new)
later.start()
later.join()
print(found["old"], found["new"], os.getpriority(os.PRIO_PROCESS, 0))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads have a priority of their own on Linux only")
@pytest.mark.parametrize(("before", "after"), [(0, CONTROL_NICE), (CONTROL_NICE + 3, CONTROL_NICE + 3)])
def test_all_threads_step_back_and_none_comes_forward(before: int, after: int) -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM, str(before)], capture_output=True, text=True, check=True)
    own = subprocess.run(["nice"], capture_output=True, text=True, check=True).stdout
    shift = int(own)
    old, new, main = map(int, said.stdout.split())
    assert old == max(CONTROL_NICE, shift)
    assert new == main == max(after, shift + before)


@pytest.mark.skipif(not GROUP.is_file(), reason="this kernel does not group processes by session")
@pytest.mark.parametrize("leads", [True, False])
def test_the_group_steps_back_where_it_is_the_process_s_own(leads: bool) -> None:
    program = (
        "from tutelage.traffic.priority import _GROUP, step_back;"
        " print(_GROUP.read_text().split()); step_back(); print(_GROUP.read_text().split())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, start_new_session=leads
    )
    before, after = map(literal_eval, done.stdout.splitlines())
    if not before:
        pytest.skip("this kernel groups processes by session, but not those here: the file is empty")
    assert int(after[-1]) == (max(CONTROL_NICE, int(before[-1])) if leads else int(before[-1]))


def test_a_group_without_a_value_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "autogroup"
    empty.touch()
    monkeypatch.setattr(priority, "_GROUP", empty)
    monkeypatch.setattr(os, "getsid", lambda _: os.getpid())
    priority.step_back(0)
    assert not empty.read_text()
