from dataclasses import replace
from pathlib import Path

import pytest

from tutelage.distill.checkpoints import FOLDER, Checkpoints, fingerprint
from tutelage.distill.options import DistillOptions
from tutelage.distill.rows import Row

OPTIONS = DistillOptions(data="x")
ROWS = [Row("t/0", "t", (), [1, 2, 3], [-100, 2, 3])]


def draft(runs: Path, name: str) -> Path:
    return runs / name / "draft" / FOLDER


def test_a_checkpoint_counts_once_it_is_marked(tmp_path: Path):
    checkpoints = Checkpoints.open(tmp_path / "c", "f")
    for step in (2, 10):
        (checkpoints.folder / f"checkpoint-{step}").mkdir()
    assert checkpoints.newest() is None
    checkpoints.mark(2)
    assert checkpoints.newest() == tmp_path / "c" / "checkpoint-2"
    checkpoints.mark(10)
    assert checkpoints.newest() == tmp_path / "c" / "checkpoint-10"
    checkpoints.close()


def test_what_a_dead_run_left_is_taken_over(tmp_path: Path):
    dead = Checkpoints.open(draft(tmp_path, "1"), "f", tmp_path)
    (dead.folder / "checkpoint-3").mkdir()
    dead.mark(3)
    dead.close()
    found = Checkpoints.open(draft(tmp_path, "2"), "f", tmp_path)
    assert found.newest() == draft(tmp_path, "2") / "checkpoint-3"
    assert not dead.folder.exists()
    found.close()


def test_a_living_run_keeps_its_own(tmp_path: Path):
    alive = Checkpoints.open(draft(tmp_path, "1"), "f", tmp_path)
    (alive.folder / "checkpoint-3").mkdir()
    alive.mark(3)
    other = Checkpoints.open(draft(tmp_path, "2"), "f", tmp_path)
    assert other.newest() is None
    assert alive.newest()
    other.close()
    alive.close()


def test_another_training_takes_nothing(tmp_path: Path):
    dead = Checkpoints.open(draft(tmp_path, "1"), "f", tmp_path)
    dead.close()
    other = Checkpoints.open(draft(tmp_path, "2"), "g", tmp_path)
    assert dead.folder.exists()
    other.close()


def test_a_folder_is_opened_again_or_cleared(tmp_path: Path):
    for mark, kept in (("f", True), ("g", False)):
        again = Checkpoints.open(tmp_path / "c", mark)
        if mark == "f":
            (again.folder / "checkpoint-1").mkdir()
            again.mark(1)
            again.close()
            again = Checkpoints.open(tmp_path / "c", mark)
        assert bool(again.newest()) == kept
        again.close()


def test_one_process_at_a_time(tmp_path: Path):
    first = Checkpoints.open(tmp_path / "c", "f")
    with pytest.raises(RuntimeError, match="in use by another process"):
        Checkpoints.open(tmp_path / "c", "f")
    first.close()


def test_a_fingerprint_changes_with_what_shapes_the_weights(tmp_path: Path):
    before = fingerprint(ROWS, tmp_path, OPTIONS)
    assert fingerprint(ROWS, tmp_path, replace(OPTIONS, data="y", threads=3, admin_url="z")) == before
    assert fingerprint(ROWS, tmp_path, replace(OPTIONS, epochs=2)) == before
    assert fingerprint(ROWS, tmp_path, replace(OPTIONS, learning_rate=1e-4)) != before
    assert fingerprint([replace(ROWS[0], labels=[-100, -100, 3])], tmp_path, OPTIONS) != before
    (tmp_path / "model.safetensors").write_bytes(b"1234")
    assert fingerprint(ROWS, tmp_path, OPTIONS) != before
