"""What a distillation run's folder tells."""

import json
from pathlib import Path

import pytest

from tutelage.proxy.student_runs import report_in, story_of
from tutelage.traffic.errors import UnknownName


def test_the_words_of_a_run_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "run1"
    folder.mkdir()
    lines = [
        json.dumps({"at": 1.0, "stage": "scrub", "fraction": 1.0, "message": "done"}),
        "not json",
        json.dumps({"at": 2.0, "stage": "train", "fraction": 0.5, "loss": 0.25}),
        '{"stage": "tr',
    ]
    (folder / "progress.jsonl").write_text("\n".join(lines))
    story = story_of(tmp_path, "run1")
    assert [(event.stage, event.message) for event in story.events] == [("scrub", "done"), ("train", "")]
    assert story.losses == [0.25]
    assert story.report == {}


@pytest.mark.parametrize("content", ["", "{", "[1]"])
def test_a_damaged_report_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    assert report_in(tmp_path) == {}


@pytest.mark.parametrize("name", ["missing", "..", "../students", ".hidden"])
def test_no_other_folder_is_a_run(tmp_path: Path, name: str) -> None:
    (tmp_path / ".hidden").mkdir()
    with pytest.raises(UnknownName, match="no distillation run"):
        story_of(tmp_path, name)
