"""The control plane steps back, with all its threads."""

import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.proxy.priority import CONTROL_NICE

PROGRAM = """
import os, sys, threading
from tutelage.proxy.priority import step_back

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
