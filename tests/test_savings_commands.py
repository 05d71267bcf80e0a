"""`tutelage savings` as a command, over a data folder that no control plane holds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tutelage", "savings", *arguments, "--data", str(data)]
    environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_unknown_is_shown_as_unknown_for_people_and_as_null_for_programs(control_world: Any) -> None:
    world = control_world
    world.play(40)
    world.play(5, route="student", student=world.version)
    pattern = world.pattern
    world.plane.close()
    shown = run(world.data.root)
    assert "net: unknown" in shown.stdout, shown.stderr
    assert "without a price: student, teacher-1-big" in shown.stdout
    found = json.loads(run(world.data.root, "--json", "--pattern", pattern).stdout)
    assert [(line["calls"], line["net"]) for line in found["days"]] == [(5, None)]
