"""Where each setting's value comes from."""

from pathlib import Path

import pytest

from tutelage import config
from tutelage.proxy.options import Setting
from tutelage.settings_sources import shown


def settings(file: Path | None = None, **chosen: object) -> dict[str, Setting]:
    return {one.name: one for one in config.load(file, **chosen).control().settings}


def test_each_source_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "t.toml"
    file.write_text('teacher = "https://name:secret@models.test/v1"\nworkers = 3\n[routing]\nalpha = 0.01\n')
    monkeypatch.setenv("TUTELAGE_PROXY__RETRIES", "5")
    found = settings(file, port=9000)
    told = {name: (found[name].value, found[name].source) for name in ("port", "workers", "routing.alpha")}
    assert told == {"port": ("9000", "command line"), "workers": ("3", str(file)), "routing.alpha": ("0.01", str(file))}
    assert (found["proxy.retries"].value, found["proxy.retries"].source) == ("5", "environment TUTELAGE_PROXY__RETRIES")
    assert found["proxy.port"].source == "another setting"
    assert found["routing.epsilon_tools"].source == "default"
    assert found["teacher"].value == "https://…@models.test/v1"
    assert not any("secret" in one.value for one in found.values())


def test_of_a_key_it_is_told_whether_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    monkeypatch.delenv("NO_KEY", raising=False)
    assert shown("teacher_key_env", "MY_KEY") == "MY_KEY (set)"
    assert shown("teacher_key_env", "NO_KEY") == "NO_KEY (not set)"
    assert (shown("x", ()), shown("x", ("a", "b")), shown("x", "")) == ("none", "a, b", "–")
