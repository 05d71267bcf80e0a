"""One owner per data folder, also across processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lock_holder import held_by_a_child

from tutelage.proxy.control_lock import ControlLock, Owner, is_ending, read_owner
from tutelage.traffic.errors import DataFolderLocked
from tutelage.traffic.layout import DataDir


def test_the_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    with ControlLock.acquire(data, "http://127.0.0.1:8401"):
        assert read_owner(data) == Owner(os.getpid(), "http://127.0.0.1:8401", os.getppid())
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


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="who has lost its parent is told by /proc")
def test_an_owner_that_has_outlived_its_parent_is_about_to_end(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    with held_by_a_child(data, 60) as starter:
        owner = read_owner(data)
        assert (owner.parent, is_ending(owner)) == (starter.pid, False)
        starter.kill()
        starter.wait()
        assert is_ending(owner)
        with pytest.raises(DataFolderLocked):
            ControlLock.acquire(data)
    assert is_ending(Owner()), "the lock is between two owners"
    assert not is_ending(Owner(pid=os.getpid(), parent=os.getppid()))
    assert not is_ending(Owner(pid=os.getpid())), "as an older version wrote it"
