"""What the control plane says about itself."""

import json
from typing import Any

from tutelage.proxy.overview import Overview
from tutelage.proxy.shadow import RunnerStatus


class Stuck:
    status = RunnerStatus("audit", problem="The teacher refuses audits", since=1.0)


def overview(world: Any, *runners: Any) -> Overview:
    return Overview(world.plane.store, world.plane.keeper, world.options, world.data.runs, runners)


def test_without_evidence_the_interval_is_everything(control_world: Any) -> None:
    control_world.play(40)
    (row,) = overview(control_world).routes()
    assert (row.state, row.student, row.sessions, row.risk) == ("observe", "", 0, None)
    assert (row.low, row.high, row.limit, row.progress) == (0.0, 1.0, None, None)
    assert "student" in row.missing


def test_problems_are_said_in_words(control_world: Any) -> None:
    control_world.writer.append(b"no record")
    control_world.writer.flush()
    control_world.plane.catch_up()
    status = overview(control_world, Stuck()).status()
    assert status.problems[0] == "Audit: The teacher refuses audits"
    assert "1 journal records could not be read." in status.problems
    assert status.runners == (Stuck.status,)
    world = control_world
    watched = Overview(
        world.plane.store, world.plane.keeper, world.options, world.data.runs, (), lambda: ["A verifier fails."]
    )
    assert watched.status().problems == ("1 journal records could not be read.", "A verifier fails.")


def test_runs_show_their_last_whole_line(control_world: Any) -> None:
    for name, text in {
        "1-started": "",
        "2-half": json.dumps({"stage": "train", "fraction": 0.5, "loss": 1.25, "at": 7.0}) + '\n{"stage": "tr',
        "3-damaged": "nonsense\n",
    }.items():
        folder = control_world.data.runs / name
        folder.mkdir()
        if text:
            (folder / "progress.jsonl").write_text(text)
    damaged, half, started = overview(control_world).runs()
    assert damaged.message == "its progress file is damaged"
    assert (half.stage, half.fraction, half.loss, half.at) == ("train", 0.5, 1.25, 7.0)
    assert started.stage == "starting"
