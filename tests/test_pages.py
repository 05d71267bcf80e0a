"""The dashboard's addresses over HTTP: every page, every table, errors, the login, and other sites' pages."""

import csv
import io
from typing import Any

import pytest
from dashboard_site import RUN, busy
from starlette.testclient import TestClient

from tutelage.proxy.access import COOKIE
from tutelage.proxy.admin import Admin
from tutelage.proxy.dashboard import PART
from tutelage.proxy.overview import Overview

TOKEN = "a-token-of-some-length"


@pytest.fixture
def site(control_world: Any) -> TestClient:
    busy(control_world)
    return TestClient(control_world.plane.app, base_url="http://127.0.0.1")


def addresses(world: Any, site: TestClient) -> list[str]:
    pair = site.get("/api/pairs").json()[0]["pair_id"]
    run = site.get("/api/trajectories").json()[0]["trajectory_id"]
    lists = [
        "/",
        "/?span=30d&scale=share",
        "/patterns?order=risk",
        "/pairs?only=disagree",
        "/trajectories",
        "/students",
    ]
    return [
        *lists,
        f"/patterns/{world.pattern}",
        f"/pairs/{pair}",
        f"/trajectories/{run}",
        f"/students/{world.version}",
        f"/runs/{RUN}",
        "/health",
    ]


def test_every_page_comes_whole_and_in_part(control_world: Any, site: TestClient) -> None:
    for address in addresses(control_world, site):
        whole = site.get(address)
        assert whole.status_code == 200, address
        assert "x-as-of" in whole.headers
        part = site.get(address, headers={PART: "1"})
        assert "data-live" in part.text, address
        assert "<!doctype" not in part.text


def test_every_table_comes_as_json_and_csv(control_world: Any, site: TestClient) -> None:
    run = site.get("/api/trajectories").json()[0]["trajectory_id"]
    names = site.get("/tables/none.json").json()["error"]["message"].partition("There are: ")[2].rstrip(".").split(", ")
    assert len(names) == 16
    values = {"pattern": control_world.pattern, "trajectory": run, "version": control_world.version, "run": RUN}
    empty = []
    for name in names:
        rows = site.get(f"/tables/{name}.json", params=values).json()
        text = site.get(f"/tables/{name}.csv", params=values)
        lines = list(csv.reader(io.StringIO(text.text, newline="")))
        assert len(lines) == len(rows) + 1, name
        assert text.headers["content-disposition"] == f'attachment; filename="{name}.csv"'
        empty += [] if rows else [name]
    # No version was examined, no settings were told, and the step graph is being read for the first time.
    assert set(empty) <= {"students", "scores", "settings", "step-graph"}


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/?span=1y", 400, "Expected span"),
        ("/patterns?order=luck", 400, "ordered by"),
        ("/patterns/p_none", 404, "no pattern"),
        ("/pairs?only=some", 400, "one of all"),
        ("/pairs/none", 404, "no pair"),
        ("/trajectories/none", 404, "no trajectory"),
        ("/scrub/none", 404, "no trajectory"),
        ("/students/none@0", 404, "no student version"),
        ("/runs/none", 404, "no distillation run"),
    ],
)
def test_an_error_is_a_page_that_says_what_is_wrong(site: TestClient, address: str, status: int, said: str) -> None:
    answer = site.get(address)
    assert answer.status_code == status
    assert said in answer.text
    assert "<nav" in answer.text


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("/tables/steps.json", "needs the parameter 'trajectory'"),
        ("/tables/pairs.json?limit=0", "between 1 and 10000"),
        ("/tables/pairs.xml", ".json and .csv"),
        ("/tables/traffic.csv?span=1y", "Expected span"),
        ("/tables/trajectories.csv?before=noon", "Unix seconds"),
    ],
)
def test_an_error_of_a_table_is_json(site: TestClient, address: str, said: str) -> None:
    answer = site.get(address)
    assert answer.status_code in (400, 404)
    assert said in answer.json()["error"]["message"]


def test_a_page_of_another_site_changes_nothing(control_world: Any, site: TestClient) -> None:
    path = f"/api/routes/{control_world.pattern}/off"
    for headers in ({"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}):
        assert site.post(path, json={"reason": "x"}, headers=headers).status_code == 403
    assert site.post(path, content="reason=x", headers={"content-type": "text/plain"}).status_code == 400
    assert control_world.plane.keeper.board.state(control_world.pattern).state == "canary"


def test_beyond_this_machine_a_token_is_asked_for(control_world: Any) -> None:
    plane = control_world.plane
    overview = Overview(plane.store, plane.keeper, control_world.options, control_world.data.runs)
    admin = Admin(overview, control_world.data, plane.policies, lambda: control_world.now, None, TOKEN)
    client = TestClient(admin.app(), base_url="http://10.0.0.2", follow_redirects=False)
    sent = client.get("/patterns", headers={"accept": "text/html"})
    assert sent.headers["location"] == "/login?next=/patterns"
    assert "admin.token" in client.get("/login?next=/patterns").text
    assert client.post("/login", data={"token": "wrong"}).status_code == 401
    done = client.post("/login", data={"token": TOKEN, "next": "/patterns"})
    assert (done.status_code, done.headers["location"]) == (303, "/patterns")
    assert COOKIE in done.headers["set-cookie"]
    assert client.get("/patterns").status_code == 200, "the cookie is sent from now on"
