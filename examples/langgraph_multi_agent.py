"""Two agents of LangGraph, one of which asks the other: the front desk moves parcels, the tracker finds them.

    python -m tutelage.examples.langgraph_multi_agent

You see the customer's answer and, from the log, two runs: the tracker's names the front desk's as the one that has
started it, and the work of each agent is a pattern of its own, so that each can get a student of its own.
"""

import json
from typing import Any

from langchain.agents import create_agent
from langchain_core.tools import tool

from ..plugins.langchain import TutelageCallbackHandler, chat_model
from .parcels.desk import run_tool
from .place import Place, opened

ROOT = "multi-agent"


@tool
def track_parcel(parcel: str) -> str:
    """Say where a parcel is and how far it has come."""
    return run_tool("track_parcel", {"parcel": parcel})


def front_desk(model: Any) -> Any:
    """The agent that customers talk to; its tool hands a part of the work to the other agent."""
    tracker = create_agent(model, [track_parcel], name="tracker", system_prompt="Say where parcels are.")

    @tool
    def change_day(parcel: str, day: str) -> str:
        """Deliver a parcel on another day of this week."""
        # The callbacks of the run around it reach the agent by themselves; that is how its parent is known.
        found = tracker.invoke({"messages": [{"role": "user", "content": f"Where is parcel {parcel}?"}]})
        return json.dumps({"moved": True, "note": found["messages"][-1].text, "day": day})

    prompt = "You are the help desk of a parcel service. Use your tool when a customer names another day."
    return create_agent(model, [change_day], name="front_desk", system_prompt=prompt)


def main(place: Place) -> None:
    """Serve one customer."""
    handler = TutelageCallbackHandler(place.url, api_key=place.key)
    model: Any = chat_model(place.model, server=place.url, api_key=place.key)
    question: Any = {"messages": [{"role": "user", "content": "Please deliver PA-12345 on Friday instead."}]}
    config: Any = {"callbacks": [handler], "metadata": {"tutelage_trajectory": ROOT}}
    done = front_desk(model).invoke(question, config)
    print(f"The customer reads: {done['messages'][-1].content}")
    handler.shutdown()
    model.http_client.close()
    run = place.run(ROOT)
    for child in run["children"]:
        print(f"The front desk's run of {run['trajectory']['calls']} calls started one of {child['calls']} calls.")
    used = {call["pattern_id"] for call in run["calls"]}
    for row in place.ask("/api/patterns"):
        who = "front desk" if row["pattern_id"] in used else "tracker"
        print(f"Pattern of the {who}: {row['name']} ({row['role']})")


if __name__ == "__main__":
    with opened() as found:
        main(found)
