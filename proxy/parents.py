"""A process that does not outlive the one that started it."""

import ctypes
import signal
import sys


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent dies, even by kill -9; on Linux only.

    `prctl(PR_SET_PDEATHSIG)`, whose number is 1.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
