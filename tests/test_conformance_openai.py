"""OpenAI's own client in both its major releases: what it gets through the proxy is what it gets from the teacher."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conformance.openai_scenarios import SCENARIOS
from conformance.plane import KEY, PROXIES, Plane, developed

HERE = Path(__file__).parent
CLIENTS = {"3": "", "2": "openai-2"}
"""Major release and the folder beside the environment that holds it."""


def outcomes(major: str, *base_urls: str) -> list[dict[str, Any]]:
    """The results of all scenarios by base URL, run in a process of their own."""
    paths = [str(HERE)]
    if CLIENTS[major]:
        folder = developed(CLIENTS[major])
        if folder is None:
            pytest.skip(f"the client's release {major} is missing: `make dev` installs it into .dev/{CLIENTS[major]}")
        paths.insert(0, str(folder))
    environment = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "error::RuntimeWarning"}
    command = [sys.executable, "-m", "conformance.openai_scenarios", KEY, *base_urls]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["version"].startswith(f"{major}.")
    return found["results"]


@pytest.fixture(scope="module", params=sorted(CLIENTS))
def both(request: pytest.FixtureRequest, plane: Plane) -> list[dict[str, Any]]:
    """What the scenarios gave with the teacher itself, and through the proxy."""
    return outcomes(request.param, plane.teacher.url, plane.url)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_same_with_and_without_the_proxy(both: list[dict[str, Any]], name: str) -> None:
    direct, proxied = both[0][name], both[1][name]
    for result in (direct, proxied):
        assert not (isinstance(result, dict) and "failed" in result), result["failed"]
    assert proxied == direct


def test_retries_of_one_action_are_logged_as_such(plane: Plane, both: list[dict[str, Any]]) -> None:
    assert both[1]["retries"]
    found = [record for record in plane.records() if b"fail 503 twice" in record.request]
    assert [(record.status, record.retry) for record in found][-3:] == [(503, 0), (503, 1), (200, 2)]


def test_timeouts_of_the_agent_are_logged_as_cancelled(plane: Plane, both: list[dict[str, Any]]) -> None:
    assert both[1]["timeouts"]
    found = [record for record in plane.records() if b'"sleep"' in record.request]
    assert len(found) >= 2
    assert all(record.cancelled and record.status == 0 for record in found)
    assert all(seen.hung_up.wait(5) for seen in plane.teacher.seen if b'"sleep"' in seen.body)
