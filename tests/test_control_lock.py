"""One owner per data folder, also across processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.proxy.control_lock import ControlLock, Owner, read_owner
from tutelage.traffic.errors import DataFolderLocked
from tutelage.traffic.layout import DataDir


def test_the_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    with ControlLock.acquire(data, "http://127.0.0.1:8401"):
        assert read_owner(data) == Owner(os.getpid(), "http://127.0.0.1:8401")
        with pytest.raises(DataFolderLocked, match=rf"process {os.getpid()} at http://127\.0\.0\.1:8401"):
            ControlLock.acquire(data)
    assert read_owner(data) == Owner()
    ControlLock.acquire(data).release()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    code = (
        "import sys, os; from pathlib import Path; from tutelage.traffic.layout import DataDir;"
        "from tutelage.proxy.control_lock import ControlLock;"
        "lock = ControlLock.acquire(DataDir(Path(sys.argv[1])), 'http://gone'); print('held', flush=True); os._exit(9)"
    )
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert child.stdout == "held\n"
    assert read_owner(data).url == "http://gone"  # what the file says means nothing by itself
    ControlLock.acquire(data).release()
