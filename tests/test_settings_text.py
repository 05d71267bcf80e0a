"""The settings as they describe themselves."""

import re
import tomllib
from pathlib import Path

import pytest

from tutelage import config
from tutelage.settings_text import SECTIONS, commented_file, fields


def test_every_setting_is_explained() -> None:
    unexplained = [
        f"{section}.{field.name}"
        for section, file, name, _ in SECTIONS
        for field in fields(section, file, name)
        if not field.text and field.name != "student_url"
    ]
    assert unexplained == []


def test_the_defaults_of_the_file_are_those_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = commented_file()
    path = tmp_path / "tutelage.toml"
    path.write_text(text)
    plain = config.load()
    assert plain.file is not None
    # Everything uncommented that has a value; sections that are named by the user are examples.
    active, example = [], False
    for line in text.splitlines():
        section = re.fullmatch(r"# \[(.+)\]", line)
        if section:
            example = section[1] not in ("routing", "store", "outcomes", "proxy", "control", "serving", "distill")
        if not example and re.fullmatch(r"# (\[.+\]|[a-z_0-9]+ = [^…]+)", line):
            active.append(line.removeprefix("# "))
    assert len(active) > 80
    path.write_text("\n".join(active))
    tomllib.loads(path.read_text())
    spoken = config.load()
    assert spoken.data_plane() == plain.data_plane()
    assert spoken.control().routing == plain.control().routing
    assert spoken.serving() == plain.serving()
    assert spoken.distill() == plain.distill()
    assert spoken.control().store == plain.control().store
