from pathlib import Path
from typing import Any

import pytest

from tutelage.distill.select import select, size_of
from tutelage.traffic.errors import BadInput, TutelageError
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import Manifest, PromptSpec, StudentRegister

SIZES = {"small": 100_000_000, "middle": 300_000_000, "large": 900_000_000}


class Trainer:
    """Registers a version of each base with the agreement it is told; an exception is raised instead."""

    def __init__(self, root: Path, **agreements: float | Exception) -> None:
        self.register = StudentRegister(DataDir(root).prepare())
        self._root, self._agreements = root, agreements
        self.trained: list[str] = []

    def __call__(self, base: str) -> Manifest:
        self.trained.append(base)
        told = self._agreements[base]
        if isinstance(told, Exception):
            raise told
        draft = self._root / "draft"
        draft.mkdir()
        rejected = told < 0.5
        fields: dict[str, Any] = {
            "status": "rejected" if rejected else "candidate",
            "reason": "under the floor" if rejected else "",
            "scores": {"agreement": told, "low": told - 0.1, "high": told + 0.05, "floor": 0.5, "calls": 40},
        }
        manifest = Manifest(
            version=f"desk@{base}",
            name="desk",
            created_at=100.0,
            agent_id="a",
            pattern_ids=["p"],
            base=base,
            base_digest="0",
            prompt=PromptSpec(),
            snapshot_at=1.0,
            data_digest="0",
            seconds={"train": 60.0, "evaluate": 5.0},
            **fields,
        )
        self.register.publish(draft, manifest)
        return manifest

    def choose(self, *bases: str, bar: float = 0.8) -> dict[str, str]:
        found = select(bases, bar, self, self.register, SIZES.__getitem__)
        return {tried.base: tried.result for tried in found}

    def statuses(self) -> dict[str, str]:
        return {manifest.base: manifest.status for manifest in self.register.list()}


def test_the_smallest_that_reaches_the_bar_ends_the_search(tmp_path: Path):
    trainer = Trainer(tmp_path, small=0.7, middle=0.85, large=0.99)
    assert trainer.choose("large", "small", "middle", "small") == {
        "small": "below the bar",
        "middle": "chosen",
        "large": "not needed",
    }
    assert trainer.trained == ["small", "middle"]
    assert trainer.statuses() == {"small": "retired", "middle": "candidate"}
    assert "desk@middle, from the base middle, was chosen" in trainer.register.get("desk@small").reason


def test_where_none_reaches_the_bar_the_best_is_kept(tmp_path: Path):
    trainer = Trainer(tmp_path, small=0.75, middle=0.7, large=0.1)
    assert trainer.choose("small", "middle", "large") == {
        "small": "below the bar",
        "middle": "below the bar",
        "large": "rejected: under the floor",
    }
    assert trainer.statuses() == {"small": "candidate", "middle": "retired", "large": "rejected"}


def test_a_base_that_cannot_be_trained_is_one_line(tmp_path: Path):
    trainer = Trainer(tmp_path, small=TutelageError("no chat model"), middle=0.9)
    assert trainer.choose("small", "middle") == {"small": "failed: no chat model", "middle": "chosen"}


def test_no_student_at_all(tmp_path: Path):
    trainer = Trainer(tmp_path, small=TutelageError("no chat model"), middle=0.2)
    with pytest.raises(BadInput, match="small failed: no chat model; middle rejected: under the floor"):
        trainer.choose("small", "middle")
    with pytest.raises(BadInput, match="at least one base"):
        trainer.choose()


def test_the_table_has_the_interval_beside_each_figure(tmp_path: Path):
    trainer = Trainer(tmp_path, small=0.9)
    row = select(["small"], 0.8, trainer, trainer.register, SIZES.__getitem__)[0].to_json()
    assert (row["mb"], row["calls"], row["seconds"]) == (100.0, 40, 65.0)
    assert row["low"] < row["agreement"] < row["high"]


def test_the_size_of_a_base_is_that_of_its_file(tiny_gguf: Path):
    assert size_of(str(tiny_gguf)) == tiny_gguf.stat().st_size
