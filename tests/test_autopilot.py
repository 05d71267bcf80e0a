"""Training by itself: real processes stand for the runs, a table stands for the control plane."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tutelage.autopilot import HISTORY, LOG, Autopilot, Pilot, line, read_history
from tutelage.distill.options import DistillOptions, ScheduleOptions
from tutelage.distill.schedule import Entry, Wait
from tutelage.proxy.options import ControlOptions
from tutelage.traffic.errors import DataFolderLocked, TutelageError
from tutelage.traffic.layout import DataDir

NEED = {"agent_id": "a_1", "name": "Desk", "sessions": 90, "new_sessions": 90, "version": "", "lost": [], "unknown": []}
GOOD = """
import json, os, sys
options = json.loads(os.environ["TUTELAGE_OPTIONS"])
told = [options["agent"], options["threads"], os.environ["OMP_NUM_THREADS"], os.nice(0), sys.argv[1]]
told.append(options["asked_for"])
open(os.path.join(options["data"], "told"), "w").write(json.dumps(told))
print(json.dumps({"version": "desk@1", "status": "candidate", "reason": ""}))
"""
BAD = "import sys; print('starting', file=sys.stderr); sys.exit('Expected at least 30 sessions, found 3.')"
LONG = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("ready", file=sys.stderr, flush=True)
time.sleep(60)
"""


class Desk:
    """Answers as the admin API."""

    def __init__(self, root: Path, needs: list[dict[str, Any]]) -> None:
        self.root, self.needs, self.exports = root, needs, 0

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get(self, path: str) -> Any:
        assert path == "/api/needs"
        return self.needs

    def post(self, path: str, body: dict[str, Any]) -> Any:
        assert (path, body) == ("/api/exports", {"agent": "a_1"})
        self.exports += 1
        folder = self.root / f"export{self.exports}"
        folder.mkdir()
        return {"path": str(folder)}


class World:
    def __init__(self, root: Path) -> None:
        self.data = DataDir(root / "data").prepare()
        self.desk = Desk(root, [NEED])
        self.told: list[tuple[str, Any]] = []
        self.clock = datetime.now(UTC)

    def pilot(self, code: str, **schedule: Any) -> Autopilot:
        settings = Pilot(
            DistillOptions(data=str(self.data.root)),
            ScheduleOptions(**schedule),
            ControlOptions(data=str(self.data.root), teacher_url=""),
        )
        return Autopilot(
            settings,
            lambda kind, what: self.told.append((kind, what)),
            lambda: self.desk,  # pyright: ignore[reportArgumentType, reportReturnType]
            (sys.executable, "-c", code),
            lambda: self.clock,
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_due_run_is_a_humble_process_with_a_place_in_the_history(world: World, tmp_path: Path) -> None:
    pilot = world.pilot(GOOD, threads=1, nice=7)
    assert pilot.look()
    (entry,) = read_history(world.data)
    assert (entry.outcome, entry.version, entry.reason) == ("registered", "desk@1", "first: 90 successful sessions")
    assert [kind for kind, _ in world.told] == ["started", "ended"]
    told = json.loads((world.data.root / "told").read_text())
    assert told == ["a_1", 1, "1", min(19, os.nice(0) + 7), str(tmp_path / "export1"), ""]
    # The same look again: the agent rests.
    assert not pilot.look()
    assert not pilot.look()
    assert world.told[2:] == [("waits", Wait("a pause after the last run"))]


def test_the_run_is_told_what_the_version_before_cannot_do(world: World) -> None:
    world.desk.needs = [NEED | {"version": "desk@0", "lost": ["p_1"]}]
    assert world.pilot(GOOD, nice=0).look()
    told = json.loads((world.data.root / "told").read_text())
    assert told[-1] == "drift: desk@0 has lost p_1"


def test_a_run_that_fails_says_why_and_is_not_begun_again_at_once(world: World) -> None:
    pilot = world.pilot(BAD)
    assert pilot.look()
    (entry,) = read_history(world.data)
    assert (entry.outcome, entry.message) == ("failed", "Expected at least 30 sessions, found 3.")
    assert "starting" in (world.data.logs / LOG).read_text()
    assert not pilot.look()


def test_a_run_that_is_stopped_goes_on_with_its_own_sessions(world: World, tmp_path: Path) -> None:
    # The budget is all but used up: the run is stopped as soon as it has begun.
    pilot = world.pilot(LONG, budget_h=0.5 / 3_600)
    assert pilot.look()
    (entry,) = read_history(world.data)
    assert entry.outcome == "stopped"
    world.clock += timedelta(minutes=1)
    assert world.pilot(GOOD).look()
    first, second = read_history(world.data)
    assert first.outcome == "resumed"
    assert (second.outcome, second.reason) == ("registered", "resumed: first: 90 successful sessions")
    assert second.export == first.export == str(tmp_path / "export1")
    assert world.desk.exports == 1


def test_what_a_killed_watcher_left_is_taken_up_or_exported_anew(world: World, tmp_path: Path) -> None:
    left = Entry(world.clock.timestamp() - 60, "a_1", "sessions: 200 new ones", str(tmp_path / "gone"))
    (world.data.runs / HISTORY).write_bytes(msgspec.json.encode(left) + b"\n" + b'{"at": 1, "agent')
    assert read_history(world.data) == [left]
    world.data.runs.joinpath(HISTORY).write_bytes(msgspec.json.encode(left) + b"\n")
    assert world.pilot(GOOD).look()
    assert [one.outcome for one in read_history(world.data)] == ["resumed", "registered"]
    assert read_history(world.data)[1].export == str(tmp_path / "export1")


def test_a_control_plane_that_is_away_is_waited_for(world: World) -> None:
    class Away(Desk):
        def get(self, path: str) -> Any:
            raise TutelageError("connection refused")

    world.desk = Away(world.data.root, [])
    assert not world.pilot(GOOD).look()
    ((kind, wait),) = world.told
    assert kind == "waits"
    assert "connection refused" in line(kind, wait)


def test_one_watcher_is_enough(world: World) -> None:
    world.desk.needs = []
    first, second = world.pilot(GOOD, every_s=0.01), world.pilot(GOOD)

    def look_beside() -> list[str]:
        with pytest.raises(DataFolderLocked, match="One is enough"):
            second.watch(once=True)
        first.stop.set()
        return []

    world.desk.get = lambda path: look_beside()  # type: ignore[method-assign]
    first.watch()


def test_the_process_ends_on_sigterm(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    settings = Pilot(
        DistillOptions(data=str(tmp_path)),
        ScheduleOptions(),
        ControlOptions(data=str(tmp_path), teacher_url="http://teacher.test/v1"),
    )
    environment = {**os.environ, "TUTELAGE_OPTIONS": msgspec.json.encode(settings).decode()}
    command = [sys.executable, "-m", "tutelage.autopilot"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"event": "waits", "why": "nothing new enough to learn from"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not (data.runs / HISTORY).exists()
