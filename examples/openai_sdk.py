"""OpenAI's SDK behind the proxy: only the base URL is another.

    python -m tutelage.examples.openai_sdk

You see an answer that arrives whole and one that is streamed, who gave each of them, an agent that works with a tool,
and all of its calls in the log as one run.
"""

import json
from typing import Any

from openai import OpenAI

from .parcels.desk import run_tool, tools
from .place import Place, opened

CHANGE_DAY: Any = [tool for tool in tools() if tool["function"]["name"] == "change_day"]
SYSTEM = "You are the help desk of a parcel service. Use your tool when a customer names another day."


def agent(client: OpenAI, model: str, text: str, run: str) -> str:
    """A plain tool loop. Naming the run is optional: without the header it is found by its messages."""
    messages: list[Any] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
    for _ in range(4):
        answer = client.chat.completions.create(
            model=model, messages=messages, tools=CHANGE_DAY, extra_headers={"x-tutelage-trajectory": run}
        )
        message: Any = answer.choices[0].message
        if not message.tool_calls:
            return message.content or ""
        messages.append(message)
        for call in message.tool_calls:
            result = run_tool(call.function.name, json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return "I could not do that."


def main(place: Place) -> None:
    """Ask, stream, work, and look at the log."""
    client = OpenAI(base_url=place.url, api_key=place.key)
    question: Any = [{"role": "user", "content": "Tell me in one sentence what you can help with."}]

    whole = client.chat.completions.with_raw_response.create(model=place.model, messages=question)
    print(f"{whole.headers['x-tutelage-route']} answered: {whole.parse().choices[0].message.content}")

    with client.chat.completions.with_streaming_response.create(
        model=place.model, messages=question, stream=True
    ) as reply:
        route = reply.headers["x-tutelage-route"]
        pieces = [chunk.choices[0].delta.content or "" for chunk in reply.parse() if chunk.choices]
    print(f"{route} streamed: {''.join(pieces)}")

    print(f"The agent says: {agent(client, place.model, 'Please move PA-12345 to Friday.', 'openai-sdk')}")
    client.close()
    seen = place.run("openai-sdk")
    print(f"Its run has {len(seen['calls'])} calls and {len(seen['messages'])} messages in the log.")


if __name__ == "__main__":
    with opened() as found:
        main(found)
