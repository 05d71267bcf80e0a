"""`tutelage config`: what is in force, and a file to begin with."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tutelage.settings_commands import settings
from tutelage.traffic.errors import BadInput


def rows(*arguments: str) -> dict[str, tuple[str, str]]:
    done = CliRunner().invoke(settings, ["show", "--json", *arguments], catch_exceptions=False)
    return {row["name"]: (row["value"], row["source"]) for row in json.loads(done.stdout)}


def test_each_setting_is_shown_with_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUTELAGE_PORT", "9001")
    monkeypatch.setenv("SECRET_KEY", "sk-do-not-show")
    Path("tutelage.toml").write_text(
        'teacher = "http://user:hidden@teacher.test/v1"\nteacher_key_env = "SECRET_KEY"\n[routing]\nalpha = 0.01\n'
    )
    found = rows()
    assert found["port"] == ("9001", "environment TUTELAGE_PORT")
    assert found["routing.alpha"] == ("0.01", "tutelage.toml")
    assert found["workers"] == ("1", "default")
    assert found["teacher_key_env"][0] == "SECRET_KEY (set)"
    assert not any("hidden" in value or "do-not-show" in value for value, _ in found.values())
    changed = rows("--changed")
    assert {"port", "teacher", "routing.alpha"} <= set(changed)
    assert "workers" not in changed


def test_a_new_file_is_written_and_none_is_replaced_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(settings, ["init"], catch_exceptions=False).exit_code == 0
    assert "# epsilon_tools = 0.05" in Path("tutelage.toml").read_text()
    with pytest.raises(BadInput, match="--force"):
        runner.invoke(settings, ["init"], catch_exceptions=False)
    Path("tutelage.toml").write_text("port = 1\n")
    assert runner.invoke(settings, ["init", "--force"], catch_exceptions=False).exit_code == 0
    assert "[routing]" in Path("tutelage.toml").read_text()
    with pytest.raises(BadInput, match="cannot be written"):
        runner.invoke(settings, ["init", "none/at/all.toml"], catch_exceptions=False)
