"""What the tests of the dashboard's modules share: a site over a ControlWorld that has seen a pattern go to canary."""

import json
from typing import Any

from tutelage.proxy.admin_patterns import PatternAdmin
from tutelage.proxy.memo import Memo
from tutelage.proxy.overview import Overview
from tutelage.proxy.views import Site

RUN = "20270115-080000-parcels"


def site_of(world: Any) -> Site:
    """The site over a world's control plane; nothing is remembered from one moment to the next."""
    plane = world.plane
    overview = Overview(plane.store, plane.keeper, world.options, world.data.runs)
    admin = PatternAdmin(overview, lambda: world.now, lambda name: name)
    return Site(overview, world.data, admin, plane.policies, lambda: world.now, Memo(_Ticks()), world.now)


class _Ticks:
    """A clock that is an hour later at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 3_600.0
        return self.now


def busy(world: Any) -> None:
    """A pattern in canary with some traffic, audits and a run."""
    world.play(40)
    run = world.data.runs / RUN
    run.mkdir()
    lines = [
        {"stage": "train", "fraction": n / 4, "message": f"step {n}", "loss": 2.0 / n, "at": 10.0 * n} for n in (1, 2)
    ]
    (run / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"stage": "tr')
    world.add_student()
    world.play(60)
    world.label()
    world.idle()
    world.play(20, route="student", student=world.version)
    world.play(30)
    world.label("audit")
    world.idle()
