"""Who waits when there is too little processor: the control plane and training, not the agents.

Both planes often share a core. A round of the keeper takes some ten milliseconds of it, and a chunk of a stream that
comes meanwhile should not wait for its end. So all threads of the control plane step back once it has started; those
that are made later, also DuckDB's, take after the thread that makes them. Training steps back further, from the start.

Where Linux groups processes by session (`sched_autogroup_enabled`), the nice value of a process counts only among those
of its own session, and each part of Tutelage has one: its whole group has to step back.
"""

import os
from contextlib import suppress
from pathlib import Path

CONTROL_NICE = 5
"""The scheduler then gives the data plane about three times the control plane's share of a core that both want."""
_GROUP = Path("/proc/self/autogroup")


def step_back(nice: int = CONTROL_NICE) -> None:
    """Lower the priority of all threads of this process to `nice`, 0 to 19; one that is lower already stays.

    A process that leads its session takes the session's group along. On systems without /proc only the calling
    thread's priority is lowered, or the process's. May be called between fork and exec.
    """
    tasks = Path("/proc/self/task")
    threads = [int(task.name) for task in tasks.iterdir()] if tasks.is_dir() else [0]
    for thread in threads:
        # One may have ended since.
        with suppress(ProcessLookupError):
            if os.getpriority(os.PRIO_PROCESS, thread) < nice:
                os.setpriority(os.PRIO_PROCESS, thread, nice)
    if os.getsid(0) == os.getpid():
        _group_back(nice)


def _group_back(nice: int) -> None:
    # Absent without groups, and empty in the kernel's first one; and the kernel takes only so many changes a second.
    with suppress(OSError):
        name_and_nice = _GROUP.read_text().split()
        if name_and_nice and int(name_and_nice[-1]) < nice:
            _GROUP.write_text(str(nice))
