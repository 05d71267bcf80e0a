"""The admin API of feedback: what is added here counts like what agents post."""

from collections.abc import Iterator
from typing import Any

import pytest

from tutelage.proxy.admin_client import AdminClient, LocalSender
from tutelage.traffic.errors import BadInput


@pytest.fixture
def client(control_world: Any) -> Iterator[AdminClient]:
    with AdminClient(LocalSender(control_world.plane.app, lambda: None)) as opened:
        yield opened


def test_a_value_becomes_the_label_of_its_run(control_world: Any, client: AdminClient) -> None:
    (call_id,) = control_world.play(1)
    body = {"metric": "success", "value": False, "source": "review", "call_id": call_id, "comment": "wrong parcel"}
    made = client.post("/api/feedback", body)
    assert (made["metric"], made["value"], made["added"]) == ("success", False, True)
    control_world.idle()
    (row,) = client.get("/api/feedback")
    assert (row["feedback_id"], row["state"], row["call_id"]) == (made["id"], "found", call_id)
    assert (row["value"], row["comment"], row["trajectory_id"]) == (False, "wrong parcel", call_id)
    run = client.get(f"/api/trajectories/{call_id}")["trajectory"]
    assert (run["success"], run["success_source"]) == (False, "feedback:review")
    assert client.get("/api/feedback", trajectory=call_id, metric="success") == [row]
    assert client.get("/api/feedback", metric="other") == []
    assert client.get("/api/verifiers") == []


def test_one_id_counts_once(client: AdminClient) -> None:
    body = {"metric": "success", "value": True, "trajectory": "r", "id": "mine"}
    assert [client.post("/api/feedback", body)["added"] for _ in range(2)] == [True, False]
    assert len(client.get("/api/feedback")) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"metric": "success", "value": True}, "exactly one of"),
        ({"metric": "success", "value": {}, "trajectory": "r"}, "value"),
        ({"metric": "success", "value": True, "trajectory": "r", "source": "verifier:x"}, "verifiers'"),
    ],
)
def test_mistakes_are_told(client: AdminClient, body: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        client.post("/api/feedback", body)
    with pytest.raises(BadInput, match="between 1 and 10000"):
        client.get("/api/feedback", limit=0)
