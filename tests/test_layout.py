"""The data folder: prepared once, safe against two starters, replaced files whole."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tutelage.traffic.errors import DataFolderError
from tutelage.traffic.layout import DataDir, publish, publish_json


def test_prepare_makes_folders_and_a_private_secret(tmp_path: Path) -> None:
    data = DataDir(tmp_path / "deep" / "data").prepare()
    assert data.journal.is_dir()
    assert data.students.is_dir()
    assert len(data.read_secret()) == 32
    assert stat.S_IMODE(data.secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(data.root.stat().st_mode) == 0o700


def test_a_folder_that_is_there_keeps_its_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    DataDir(tmp_path).prepare()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750


def test_prepare_again_keeps_the_secret(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    first = data.prepare().read_secret()
    assert data.prepare().read_secret() == first


def test_two_starters_agree_on_one_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: DataDir(tmp_path).prepare().read_secret(), range(32)))
    assert len(secrets) == 1
    assert not list(tmp_path.glob(".secret-*"))


def test_a_file_in_the_way_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("not a folder")
    with pytest.raises(DataFolderError, match="--data"):
        DataDir(path).prepare()


def test_publish_replaces_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    publish(path, b"old")
    publish_json(path, {"é": 1})
    assert path.read_text() == '{\n "é": 1\n}'
    assert os.listdir(tmp_path) == ["table.json"]
