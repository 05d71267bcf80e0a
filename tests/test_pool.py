"""Loading of versions: on appearance, on demand, the least used make room, a broken one harms nobody."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tutelage.serving.engine import Generation
from tutelage.serving.options import ServingOptions
from tutelage.serving.pool import Pool
from tutelage.traffic.errors import BadInput, UnknownName
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import ADAPTER_GGUF, Manifest, PromptSpec, StudentRegister


class FakeEngine:
    """An engine that remembers its adapters; a file that holds `broken` cannot be loaded."""

    context = 100

    def __init__(self, base: str, adapters: Mapping[str, Path]) -> None:
        self.base, self.closed = base, False
        self.set_adapters(adapters)

    def set_adapters(self, adapters: Mapping[str, Path]) -> None:
        for path in adapters.values():
            if path.read_text() == "broken":
                raise BadInput(f"cannot load {path}")
        self.adapters = list(adapters)

    def tokenise(self, text: str) -> list[int]:
        return [1]

    def generate(self, *args: Any, **kwargs: Any) -> Generation:
        return Generation(f"{self.base} {args[1]}", 1, 1, -1.0, -1.0, "stop")

    def close(self) -> None:
        self.closed = True


class World:
    """A data folder, a pool over it and the engines that it made."""

    def __init__(self, root: Path, keep: int = 2) -> None:
        self.data = DataDir(root).prepare()
        self.register = StudentRegister(self.data)
        self.engines: list[FakeEngine] = []
        self.pool = Pool(ServingOptions(data=str(root), keep=keep), self.make)

    def make(self, base: str, adapters: dict[str, Path]) -> FakeEngine:
        self.engines.append(FakeEngine(base, adapters))
        return self.engines[-1]

    def publish(self, version: str, at: float, base: str = "tiny", status: str = "candidate", body: str = "") -> None:
        draft = self.data.root / "draft"
        draft.mkdir()
        (draft / ADAPTER_GGUF).write_text(body)
        manifest = Manifest(
            version=version,
            name=version.split("@")[0],
            status=status,
            created_at=at,
            agent_id="a",
            pattern_ids=["p"],
            base=base,
            base_digest="",
            prompt=PromptSpec(),
            snapshot_at=0,
            data_digest="",
        )
        self.register.publish(draft, manifest)

    def says(self, version: str) -> str:
        return self.pool.get(version).answer({"messages": [{"role": "user", "content": "x"}]}).message["content"]


def test_new_candidates_are_loaded_and_rejected_ones_are_not(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.pool.refresh() == []
    world.publish("a@1", 1)
    world.publish("r@1", 2, status="rejected")
    assert world.pool.refresh() == ["a@1"]
    world.publish("b@1", 3)
    assert world.pool.refresh() == ["a@1", "b@1"]
    assert len(world.engines) == 1
    assert world.engines[0].adapters == ["a@1", "b@1"]
    assert world.says("b@1") == "tiny b@1"


def test_the_least_used_makes_room_and_comes_back_on_demand(tmp_path: Path) -> None:
    world = World(tmp_path)
    for at, name in enumerate(["a@1", "b@1"]):
        world.publish(name, at)
    world.pool.refresh()
    world.says("a@1")
    world.publish("c@1", 9)
    assert world.pool.refresh() == ["a@1", "c@1"]
    assert world.says("b@1") == "tiny b@1"
    assert world.pool.versions == ["c@1", "b@1"]


def test_each_base_has_its_engine_until_nobody_needs_it(tmp_path: Path) -> None:
    world = World(tmp_path, keep=1)
    world.publish("a@1", 1, base="one")
    world.pool.refresh()
    world.publish("b@1", 2, base="two")
    world.pool.refresh()
    assert [(engine.base, engine.closed) for engine in world.engines] == [("one", True), ("two", False)]
    assert world.says("b@1") == "two b@1"


def test_a_broken_version_harms_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish("a@1", 1)
    world.pool.refresh()
    world.publish("b@1", 2, body="broken")
    assert world.pool.refresh() == ["a@1"]
    assert world.pool.refresh() == ["a@1"]
    assert world.says("a@1") == "tiny a@1"
    with pytest.raises(UnknownName, match="cannot be loaded"):
        world.pool.get("b@1")


def test_an_unknown_version_is_named_and_closing_lets_all_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish("a@1", 1)
    world.pool.refresh()
    with pytest.raises(UnknownName, match="Known: a@1"):
        world.pool.get("z@9")
    world.pool.close()
    assert world.engines[0].closed
    assert world.pool.versions == []
