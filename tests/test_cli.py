"""The command line: every listing in both forms with and without data, and errors in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.listings import show_parts


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tutelage", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=os.environ | environment, timeout=120)


LISTINGS = (
    ("store", "stats"),
    ("calls", "list"),
    ("trajectories", "list"),
    ("patterns", "list"),
    ("students", "list"),
    ("routes", "list"),
    ("keys", "list"),
    ("status",),
)


@pytest.mark.parametrize("command", LISTINGS, ids=" ".join)
def test_listings_work_on_an_empty_folder_without_a_server(command: tuple[str, ...], tmp_path: Path) -> None:
    as_json = run(*command, "--json", cwd=tmp_path)
    assert as_json.returncode == 0, as_json.stderr
    assert isinstance(json.loads(as_json.stdout), list | dict)
    assert run(*command, cwd=tmp_path).returncode == 0
    assert (tmp_path / "tutelage-data").is_dir()


def test_objects_within_objects_are_tables(capsys: pytest.CaptureFixture[str]) -> None:
    value = {
        "off": False,
        "ledger": {"student_calls": 5, "unpriced": ["m1", "m2"]},
        "runners": [{"kind": "shadow", "done": 3}, {"kind": "audit", "done": 4}],
        "problems": [],
    }
    show_parts(value, False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()]
    assert lines == [
        ["off", "False"],
        ["problems", "none"],
        ["ledger"],
        ["student_calls", "5"],
        ["unpriced", "m1,", "m2"],
        ["runners"],
        ["kind", "done"],
        ["shadow", "3"],
        ["audit", "4"],
    ]
    show_parts(value, True)
    assert json.loads(capsys.readouterr().out) == value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("patterns", "show", "p_none"), "p_none"),
        (("students", "show", "s@none"), "s@none"),
        (("calls", "show", "c_none"), "c_none"),
        (("trajectories", "show", "t_none"), "t_none"),
        (("routes", "off", "p_none"), "p_none"),
        (("serve", "--config", "none.toml"), "--config"),
        (("teacher", "none.jsonl"), "none.jsonl"),
        (("replay", "none.jsonl"), "none.jsonl"),
        (("distill", "run"), "30 calls"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_mistakes_are_one_clear_line(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path, NO_COLOR="1")
    assert done.returncode == 1
    assert done.stderr.startswith("error:")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("store", "stats", "--data", "file", cwd=tmp_path)
    assert done.returncode == 1
    assert "--data" in done.stderr


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    import tutelage

    assert run("--version", cwd=tmp_path).stdout.strip() == tutelage.__version__


def test_help_names_every_command(tmp_path: Path) -> None:
    text = run("--help", cwd=tmp_path, COLUMNS="200").stdout
    for name in ("serve", "teacher", "replay", "demo", "distill", "status", "store", "patterns", "students", "routes"):
        assert name in text
