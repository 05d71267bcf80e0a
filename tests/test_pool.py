"""Loading of versions: on appearance, on demand, the least used make room, a broken one harms nobody."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tutelage.serving.engine import Generation
from tutelage.serving.options import ServingOptions
from tutelage.serving.pool import RETRY_S, Pool
from tutelage.traffic.errors import BadInput, UnknownName
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import ADAPTER_GGUF, MODEL_GGUF, Manifest, PromptSpec, StudentRegister


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

    def __init__(self, root: Path, keep: int = 2, bases: tuple[str, ...] = ()) -> None:
        self.data = DataDir(root).prepare()
        self.register = StudentRegister(self.data)
        self.engines: list[FakeEngine] = []
        self.now = 0.0
        options = ServingOptions(data=str(root), keep=keep, bases=bases)
        self.pool = Pool(options, self.make, clock=lambda: self.now)

    def make(self, base: str, adapters: dict[str, Path]) -> FakeEngine:
        if base.startswith("missing"):
            raise BadInput(f"There is no base model {base!r}.")
        self.engines.append(FakeEngine(base, adapters))
        return self.engines[-1]

    def publish(self, version: str, at: float, base: str = "tiny", **fields: Any) -> None:
        draft = self.data.root / "draft"
        draft.mkdir()
        (draft / ADAPTER_GGUF).write_text(fields.pop("body", ""))
        manifest = Manifest(
            version=version,
            name=version.split("@")[0],
            status=fields.pop("status", "candidate"),
            created_at=at,
            agent_id="a",
            pattern_ids=["p"],
            base=base,
            base_digest="",
            prompt=PromptSpec(),
            snapshot_at=0,
            data_digest="",
            **fields,
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
    with pytest.raises(UnknownName, match=r"'b@1' cannot be loaded: cannot load .*adapter.gguf"):
        world.pool.get("b@1")
    assert list(world.pool.problems) == ["b@1"]


def test_what_could_not_be_loaded_is_tried_again_later(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish("a@1", 1, body="broken")
    assert world.pool.refresh() == []
    (world.register.path("a@1") / ADAPTER_GGUF).write_text("whole")
    world.now = RETRY_S / 2
    assert world.pool.refresh() == []
    world.now = RETRY_S + 1
    assert world.pool.refresh() == ["a@1"]
    assert world.pool.problems == {}


def test_a_base_that_is_missing_takes_down_nothing_but_its_students(tmp_path: Path) -> None:
    world = World(tmp_path, keep=3)
    for at, (version, base) in enumerate([("a@1", "tiny"), ("b@1", "missing"), ("c@1", "missing")]):
        world.publish(version, at, base=base)
    assert world.pool.refresh() == ["a@1"]
    assert world.pool.problems == dict.fromkeys(["b@1", "c@1"], "There is no base model 'missing'.")


def test_a_base_is_served_by_itself_beside_its_students(tmp_path: Path) -> None:
    world = World(tmp_path, bases=("tiny", "missing"))
    assert world.pool.refresh() == ["tiny"]
    assert world.says("tiny") == "tiny"
    world.publish("a@1", 1)
    world.publish("b@1", 2, body="broken")
    assert sorted(world.pool.refresh()) == ["a@1", "tiny"]
    assert (world.says("tiny"), world.says("a@1")) == ("tiny", "tiny a@1")
    assert sorted(world.pool.problems) == ["b@1", "missing"]
    assert len(world.engines) == 1


def test_a_version_with_weights_of_its_own_needs_no_adapter(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish("a@1", 1, kind="model")
    assert world.pool.refresh() == ["a@1"]
    assert world.engines[0].base == str(world.register.path("a@1") / MODEL_GGUF)
    assert world.engines[0].adapters == []
    assert world.says("a@1").endswith("model.gguf")


def test_an_unknown_version_is_named_and_closing_lets_all_go(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.publish("a@1", 1)
    world.pool.refresh()
    with pytest.raises(UnknownName, match="Known: a@1"):
        world.pool.get("z@9")
    world.pool.close()
    assert world.engines[0].closed
    assert world.pool.versions == []
