import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.distill.__main__ import main, read_options, show
from tutelage.distill.progress import Progress
from tutelage.traffic.errors import BadInput


def test_options_from_the_environment():
    assert read_options('{"data": "d", "epochs": 1.5, "targets": ["q_proj"]}').targets == ("q_proj",)


@pytest.mark.parametrize("text", [None, "", "{", "{}", '{"data": 5}', '{"data": "d", "epochs": "many"}'])
def test_options_that_cannot_be_understood(text: str | None):
    with pytest.raises(BadInput, match="TUTELAGE_OPTIONS"):
        read_options(text)


def test_errors_are_one_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([], "{}") == 1
    assert "folder of an export" in capsys.readouterr().err
    assert main([str(tmp_path)], f'{{"data": "{tmp_path}"}}') == 1
    assert capsys.readouterr().err.startswith("Expected an export")


def test_progress_on_stderr(capsys: pytest.CaptureFixture[str]):
    show(Progress("train", 0.5, "step 1 of 2", loss=0.25, tokens_per_second=120.4, seconds_left=61.0))
    assert " ".join(capsys.readouterr().err.split()) == "train 50% step 1 of 2 loss 0.250 120 tokens/s 61 s left"


def test_as_a_process(tmp_path: Path):
    environment = {**os.environ, "TUTELAGE_OPTIONS": f'{{"data": "{tmp_path}"}}'}
    command = [sys.executable, "-m", "tutelage.distill", str(tmp_path / "none")]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 1
    assert found.stdout == ""
    assert "Expected an export" in found.stderr


def test_signals_end_a_run_as_an_exception():
    from tutelage.distill.__main__ import _stop

    with pytest.raises(SystemExit) as caught:
        _stop(signal.SIGTERM, None)
    assert caught.value.code == 143
