"""Whether a run lives, the times of its stages, and a full disk in words."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.distill.options import DistillOptions
from tutelage.distill.progress import RunLog, read_progress
from tutelage.distill.work import LOCK, Work, alive, explained, is_alive
from tutelage.traffic.errors import BadInput
from tutelage.traffic.layout import DataDir

HOLD = """
import sys
from pathlib import Path
from tutelage.distill.work import alive
with alive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_is_alive_as_long_as_its_process(tmp_path: Path) -> None:
    assert not is_alive(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=-1, stdout=-1, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_alive(tmp_path)
        process.kill()
    assert (tmp_path / LOCK).exists()
    assert not is_alive(tmp_path)


def test_the_lock_goes_with_the_run_however_it_ends(tmp_path: Path) -> None:
    seen = []

    def stopped() -> None:
        with alive(tmp_path):
            seen.append(is_alive(tmp_path))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert seen == [True]
    assert not (tmp_path / LOCK).exists()


def test_a_stage_that_comes_twice_is_timed_as_one(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    log = RunLog(data, "r")
    work = Work(DistillOptions(data=str(tmp_path)), data, log)
    for _ in range(2):
        with work.stage("train", "ten rows"):
            pass
    log.close()
    assert list(work.seconds) == ["train"]
    assert [event.fraction for event in read_progress(log.folder)] == [0.0, 1.0, 0.0, 1.0]
    assert work.draft.is_dir()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_says_what_to_do(tmp_path: Path, number: int) -> None:
    with pytest.raises(BadInput, match="Make room"), explained(DataDir(tmp_path)):
        raise OSError(number, "No space left on device")


def test_other_refusals_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), explained(DataDir(tmp_path)):
        raise PermissionError(errno.EACCES, "no")
