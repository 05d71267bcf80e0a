"""A process steps back, with all its threads, and with its group of the scheduler where that is its own."""

import subprocess
import sys
from pathlib import Path

import pytest

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
    program = "from tutelage.traffic.priority import _GROUP, step_back; step_back(); print(_GROUP.read_text())"
    before = GROUP.read_text().split()[-1]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, start_new_session=leads
    )
    assert done.stdout.split()[-1] == (str(CONTROL_NICE) if leads else before)
