"""A distillation that is killed in the middle leaves no version; the same run goes on from its checkpoint."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_run import write_export

from tutelage.proxy.options import ENVIRONMENT
from tutelage.traffic.layout import DataDir
from tutelage.traffic.run_lock import is_alive
from tutelage.traffic.students import StudentRegister

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(400)]


def start(export: Path, data: Path, base: Path, models: Path) -> "subprocess.Popen[str]":
    settings: dict[str, Any] = {"data": str(data), "base": str(base), "threads": 1, "epochs": 8, "rank": 2, "batch": 4}
    settings |= {"held_out": 0.3, "max_held_out": 4, "checkpoint_s": 0.001, "epoch_sessions": 0, "anchors": 2}
    environment = {**os.environ, ENVIRONMENT: json.dumps(settings | {"canaries": 1}), "TUTELAGE_MODELS": str(models)}
    command = [sys.executable, "-m", "tutelage.distill", str(export)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(runs: Path, process: "subprocess.Popen[str]") -> Path:
    for _ in range(3_000):
        if found := list(runs.glob("*/draft/checkpoints/checkpoint-*/whole")):
            return found[0].parents[3]
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    raise AssertionError("no checkpoint came")


def test_a_killed_run_registers_nothing_and_goes_on(tiny_gguf: Path, tmp_path: Path) -> None:
    export, models = write_export(tmp_path / "e", 40), tmp_path / "models"
    data = DataDir(tmp_path / "data").prepare()
    with start(export, data.root, tiny_gguf, models) as process:
        killed = wait_for_checkpoint(data.runs, process)
        assert is_alive(killed)
        process.kill()
    assert list(data.students.iterdir()) == []
    assert not is_alive(killed)
    assert not (killed / "report.json").exists()
    with start(export, data.root, tiny_gguf, models) as process:
        told, said = process.communicate()
    assert process.returncode == 0, said
    manifest = json.loads(told.splitlines()[-1])
    assert [one.version for one in StudentRegister(data).list()] == [manifest["version"]]
    report = json.loads((data.students / manifest["version"] / "report.json").read_text())
    assert report["training"]["resumed_at"] > 0
    assert not list(data.runs.glob("*/draft"))
