"""Who waits when there is too little processor: the control plane, not the agents.

Both planes often share a core. A round of the keeper takes some ten milliseconds of it, and a chunk of a stream that
comes meanwhile should not wait for its end. So all threads of the control plane step back once it has started; those
that are made later, also DuckDB's, take after the thread that makes them.
"""

import os
from contextlib import suppress
from pathlib import Path

CONTROL_NICE = 5
"""The scheduler then gives the data plane about three times the control plane's share of a core that both want."""


def step_back(nice: int = CONTROL_NICE) -> None:
    """Lower the priority of all threads of this process to `nice`, 0 to 19; one that is lower already stays.

    On systems without /proc only the calling thread's, or the process's."""
    tasks = Path("/proc/self/task")
    threads = [int(task.name) for task in tasks.iterdir()] if tasks.is_dir() else [0]
    for thread in threads:
        # One may have ended since.
        with suppress(ProcessLookupError):
            if os.getpriority(os.PRIO_PROCESS, thread) < nice:
                os.setpriority(os.PRIO_PROCESS, thread, nice)
