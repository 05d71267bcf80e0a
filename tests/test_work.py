"""The times of a run's stages, and a full disk in words."""

import errno
from pathlib import Path

import pytest

from tutelage.distill.options import DistillOptions
from tutelage.distill.progress import RunLog, read_progress
from tutelage.distill.work import Work, explained
from tutelage.traffic.errors import BadInput
from tutelage.traffic.layout import DataDir


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
