"""An agent of LangChain's `create_agent`, its model behind the proxy and a handler that tells how runs end.

    python -m tutelage.examples.langchain_agent

You see its answers and, from the log, one run for each of them, with the outcome that the handler has posted. The
second run fails on purpose: its tool raises, and nothing but the handler would have told that.
"""

from typing import Any

from langchain.agents import create_agent

from ..plugins.langchain import TutelageCallbackHandler, chat_model
from .parcels.desk import run_tool
from .place import Place, opened

BROKEN = "PB-99999"


def track_parcel(parcel: str) -> str:
    """Say where a parcel is and how far it has come."""
    if parcel == BROKEN:
        raise ConnectionError("the depot does not answer")
    return run_tool("track_parcel", {"parcel": parcel})


def main(place: Place) -> None:
    """Ask about two parcels."""
    handler = TutelageCallbackHandler(place.url, api_key=place.key)
    model: Any = chat_model(place.model, server=place.url, api_key=place.key)
    agent = create_agent(model, [track_parcel], name="tracker", system_prompt="Say where parcels are.")
    for name, parcel in (("langchain-1", "PA-12345"), ("langchain-2", BROKEN)):
        question: Any = {"messages": [{"role": "user", "content": f"Where is my parcel {parcel}?"}]}
        try:
            done = agent.invoke(question, {"callbacks": [handler], "metadata": {"tutelage_trajectory": name}})
            print(f"{name}: {done['messages'][-1].content}")
        except ConnectionError as error:
            print(f"{name}: the tool failed, {error}")
    # Agents do not wait for outcomes: a thread posts them. Here we want to see them.
    handler.shutdown()
    model.http_client.close()
    for name in ("langchain-1", "langchain-2"):
        run = place.run(name, "plugin:langchain")["trajectory"]
        print(f"{name}: {run['calls']} calls, success {run['success']}, as {run['success_source']} says")


if __name__ == "__main__":
    with opened() as found:
        main(found)
