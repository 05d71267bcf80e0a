"""The routes of the store in the admin API."""

import time
from typing import Any

import pytest

from tutelage.proxy.admin_client import AdminClient, LocalSender
from tutelage.traffic.errors import BadInput, UnknownName


def test_stats_and_jobs(control_world: Any) -> None:
    world = control_world
    world.play(3)
    client = AdminClient(LocalSender(world.plane.app, lambda: None))
    stats = client.get("/api/store/stats")
    assert (stats["calls"], stats["tables"]["calls"]["rows"]) == (3, 3)
    status, until = client.post("/api/store/jobs", {"kind": "verify"}), time.monotonic() + 60
    while not status["finished"] and time.monotonic() < until:
        time.sleep(0.005)
        status = client.get(f"/api/store/jobs/{status['job']}")
    assert (status["kind"], status["result"]["calls"], status["result"]["problems"]) == ("verify", 3, [])
    with pytest.raises(BadInput, match="no job 'dance'"):
        client.post("/api/store/jobs", {"kind": "dance"})
    with pytest.raises(BadInput):
        client.post("/api/store/jobs", {})
    with pytest.raises(UnknownName):
        client.get("/api/store/jobs/99")
