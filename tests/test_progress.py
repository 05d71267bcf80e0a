import json
from pathlib import Path

from tutelage.distill.progress import Progress, RunLog, free_run_id, new_run_id, read_progress
from tutelage.traffic.layout import DataDir


def test_a_run_can_be_followed_while_it_writes(tmp_path: Path):
    seen: list[Progress] = []
    log = RunLog(DataDir(tmp_path).prepare(), "r1", seen.append)
    log(Progress("train", 0.5, "step 1 of 2", loss=1.25, tokens_per_second=100.0, seconds_left=3.0))
    assert read_progress(log.folder) == seen
    with (log.folder / "progress.jsonl").open("a") as file:
        file.write('{"stage": "tra')
    assert read_progress(log.folder) == seen
    log.close()


def test_a_line_has_what_is_known_only(tmp_path: Path):
    log = RunLog(DataDir(tmp_path).prepare(), "r1")
    log(Progress("scrub", 0.0, at=5.0))
    log.finish({"version": "x@1"})
    log.close()
    assert json.loads((log.folder / "progress.jsonl").read_text()) == {
        "stage": "scrub",
        "fraction": 0.0,
        "message": "",
        "at": 5.0,
    }
    assert json.loads((log.folder / "report.json").read_text()) == {"version": "x@1"}


def test_nothing_written_yet(tmp_path: Path):
    assert read_progress(tmp_path) == []


def test_run_ids_sort_by_time():
    assert new_run_id("desk", 0.0) == "19700101-000000-desk"
    assert new_run_id("a", 1e9) < new_run_id("a", 1.1e9)


def test_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    made = []
    for _ in range(3):
        made.append(free_run_id(tmp_path, "desk", 0.5))
        (tmp_path / made[-1]).mkdir()
    assert made == sorted(set(made))
    assert made[0] == new_run_id("desk", 0.0)
