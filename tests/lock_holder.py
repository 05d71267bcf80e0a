"""A process that holds the lock of a data folder, as the child of another one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tutelage.traffic.layout import DataDir

HOLDER = """
import sys, time
from pathlib import Path
from tutelage.proxy.control_lock import ControlLock
from tutelage.traffic.layout import DataDir

with ControlLock.acquire(DataDir(Path(sys.argv[1])).prepare(), "http://holder"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
STARTER = """
import subprocess, sys
holder = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], stdout=subprocess.PIPE, text=True)
holder.stdout.readline()
print(holder.pid, flush=True)
sys.stdin.read()
"""


@contextmanager
def held_by_a_child(data: DataDir, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """The lock is held for so long by a child of the process that is given."""
    command = [sys.executable, "-c", STARTER, HOLDER, str(data.root), str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        holder = int(starter.stdout.readline())
        try:
            yield starter
        finally:
            starter.kill()
            with suppress(ProcessLookupError):
                os.kill(holder, signal.SIGKILL)
