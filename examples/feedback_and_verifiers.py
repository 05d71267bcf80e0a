"""How the log learns which runs went well: from what people say, from a function of yours, else by guessing.

    python -m tutelage.examples.feedback_and_verifiers

You see three runs. A verifier judges the first; a customer's complaint outranks the verifier on the second; on the
third nobody has an opinion, so that the outcome is guessed from the calls. Students learn from runs that went well.
"""

import json

import httpx
from openai import OpenAI

from ..traffic.verifiers import Trajectory
from .openai_sdk import agent
from .place import Place, opened

SETTINGS = 'verifiers = ["tutelage.examples.feedback_and_verifiers:said_what_was_done"]\n'
VERIFIER = "verifier:tutelage.examples.feedback_and_verifiers:said_what_was_done"
WISHES = {
    "feedback-1": "Please move PA-12345 to Friday.",
    "feedback-2": "Please move PB-23456 to Monday.",
    "feedback-3": "Who are you?",
}
EXPECTED = {"feedback-1": VERIFIER, "feedback-2": "feedback:shop", "feedback-3": "heuristic"}


def said_what_was_done(run: Trajectory) -> bool | None:
    """Whether the customer was told of the parcel that was moved; None for runs that moved nothing."""
    calls = [call["function"] for message in run.messages for call in message.get("tool_calls") or ()]
    moved = [json.loads(call["arguments"]) for call in calls if call["name"] == "change_day"]
    return moved[-1]["parcel"] in str(run.messages[-1].get("content")) if moved else None


said_what_was_done.version = "1"  # pyright: ignore[reportFunctionMemberAccess]  # another one judges all runs again


def main(place: Place) -> None:
    """Serve three customers, send one complaint, and see who decided on each run."""
    client = OpenAI(base_url=place.url, api_key=place.key)
    for name, wish in WISHES.items():
        print(f"{name}: {agent(client, place.model, wish, name)}")
    client.close()
    complaint = {"trajectory": "feedback-2", "metric": "success", "value": False, "source": "shop"}
    headers = {"authorization": f"Bearer {place.key}"}
    posted = httpx.post(f"{place.url}/feedback", json={**complaint, "comment": "It came on Tuesday."}, headers=headers)
    posted.raise_for_status()
    for name, source in EXPECTED.items():
        run = place.run(name, source)["trajectory"]
        print(f"{name}: success {run['success']}, as {run['success_source']} says")


if __name__ == "__main__":
    with opened(SETTINGS) as found:
        main(found)
