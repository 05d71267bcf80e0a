"""The register: versions appear whole or not at all, and never change."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from tutelage.traffic.errors import UnknownName
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import ADAPTER, LINEAGE, MANIFEST, Manifest, PromptSpec, StudentRegister, adapter_digest


def manifest(version: str, created_at: float = 1.0, status: str = "candidate") -> Manifest:
    return Manifest(
        version=version,
        name=version.split("@")[0],
        status=status,
        created_at=created_at,
        agent_id="a_1",
        pattern_ids=["p_1"],
        base="smollm2-135m",
        base_digest="0" * 12,
        prompt=PromptSpec(skeleton=["You are"]),
        snapshot_at=0.5,
        data_digest="d",
    )


def draft(folder: Path, text: str = "weights") -> Path:
    (folder / ADAPTER).mkdir(parents=True)
    (folder / ADAPTER / "adapter.bin").write_text(text)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "data").prepare()


def test_published_versions_are_listed_by_age(data: DataDir, tmp_path: Path) -> None:
    register = StudentRegister(data)
    register.publish(draft(tmp_path / "new"), manifest("desk@2", created_at=2.0))
    register.publish(draft(tmp_path / "old"), manifest("desk@1", created_at=1.0))
    assert [known.version for known in register.list()] == ["desk@1", "desk@2"]
    assert register.get("desk@2").prompt.skeleton == ["You are"]


def test_a_version_never_changes(data: DataDir, tmp_path: Path) -> None:
    register = StudentRegister(data)
    target = register.publish(draft(tmp_path / "a", "first"), manifest("desk@1"))
    register.publish(draft(tmp_path / "b", "second"), manifest("desk@1", created_at=9.0))
    assert (target / ADAPTER / "adapter.bin").read_text() == "first"
    assert register.get("desk@1").created_at == 1.0


def test_a_folder_without_manifest_is_no_version_and_is_swept(data: DataDir, tmp_path: Path) -> None:
    register = StudentRegister(data)
    register.publish(draft(tmp_path / "whole"), manifest("desk@1"))
    draft(data.students / "desk@broken")
    assert [known.version for known in register.list()] == ["desk@1"]
    assert register.sweep() == ["desk@broken"]
    assert register.sweep() == []


def test_publishing_takes_over_what_a_killed_run_left(data: DataDir, tmp_path: Path) -> None:
    draft(data.students / "desk@1", "half")
    target = StudentRegister(data).publish(draft(tmp_path / "a", "whole"), manifest("desk@1"))
    assert (target / ADAPTER / "adapter.bin").read_text() == "whole"


@pytest.mark.parametrize("name", ["desk@9", "../secret.key", "a/b"])
def test_unknown_versions_name_the_known_ones(data: DataDir, tmp_path: Path, name: str) -> None:
    StudentRegister(data).publish(draft(tmp_path / "a"), manifest("desk@1"))
    with pytest.raises(UnknownName, match="desk@1"):
        StudentRegister(data).get(name)


def test_the_digest_depends_on_names_and_contents(tmp_path: Path) -> None:
    one, two, three = (draft(tmp_path / name, text) for name, text in [("1", "x"), ("2", "x"), ("3", "y")])
    assert adapter_digest(one) == adapter_digest(two)
    assert adapter_digest(one) != adapter_digest(three)
    (two / ADAPTER / "adapter.bin").rename(two / ADAPTER / "other.bin")
    assert adapter_digest(one) != adapter_digest(two)
    assert len(adapter_digest(one)) == 12
    assert adapter_digest(tmp_path / "empty") == hashlib.sha256().hexdigest()[:12]


def test_manifests_of_a_newer_program_can_be_read() -> None:
    written = msgspec.to_builtins(manifest("desk@1")) | {"field_of_tomorrow": 1}
    assert msgspec.convert(written, Manifest).version == "desk@1"


def test_a_deleted_version_is_gone_and_the_others_stay(data: DataDir, tmp_path: Path) -> None:
    register = StudentRegister(data)
    for name in ("desk@1", "desk@2"):
        register.publish(draft(tmp_path / name), manifest(name))
    register.delete("desk@1")
    assert [known.version for known in register.list()] == ["desk@2"]
    assert [path.name for path in data.students.iterdir()] == ["desk@2"]
    with pytest.raises(UnknownName):
        register.delete("desk@1")


def test_a_manifest_that_cannot_be_written_leaves_no_version(data: DataDir, tmp_path: Path) -> None:
    folder = draft(tmp_path / "a")
    # Where the manifest belongs there is something that cannot be replaced.
    (folder / MANIFEST / "in the way").mkdir(parents=True)
    (data.students / "desk@2").mkdir()
    with pytest.raises(OSError, match="irectory"):
        StudentRegister(data).publish(folder, manifest("desk@1"))
    assert not (data.students / "desk@1").exists()
    assert StudentRegister(data).list() == []


def test_lineage_tells_which_versions_learnt_from_a_call(data: DataDir, tmp_path: Path) -> None:
    register = StudentRegister(data)
    for name, calls in (("desk@1", ["c1", "c2"]), ("desk@2", ["c2"])):
        folder = draft(tmp_path / name)
        row = {"row": "t1/0", "trajectory_id": "t1", "call_ids": calls}
        (folder / LINEAGE).write_bytes(msgspec.json.encode(row) + b"\n")
        register.publish(folder, manifest(name))
    register.publish(draft(tmp_path / "old"), manifest("old@1"))
    assert list(register.learnt_from("c1")) == ["desk@1"]
    assert list(register.learnt_from("t1")) == list(register.learnt_from("c2")) == ["desk@1", "desk@2"]
    assert register.learnt_from("c3") == {}
    assert [lesson.row for lesson in register.lessons("desk@2")] == ["t1/0"]
    assert register.lessons("old@1") == []
