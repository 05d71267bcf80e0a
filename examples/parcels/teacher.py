"""The help desk's teacher: an OpenAI-compatible server that stands for the large, costly model.

    python -m tutelage.examples.parcels.teacher --port 8410

It reads nothing but the request, is deterministic, and can change its ways: `POST /habits {"plain_numbers": true}`
makes it write parcel numbers without their hyphen from then on, under the very same prompt. That is what an upgrade of
a hosted model looks like from outside, and what the guard is for.
"""

import argparse
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from ...proxy.standalone import serve_app
from ...traffic.sse import frames_of
from .tasks import DAYS, MAJOR, SHOPS

PARCEL = re.compile(r"\bP[A-H]-?\d{5}\b")
ONLY_PARCELS = "I can only help with parcels."


def choose_call(text: str) -> tuple[str, str, dict[str, Any]] | None:
    """(tool, parcel, further arguments) for a customer's message; None when it is not about a parcel."""
    parcel = PARCEL.search(text)
    if not parcel:
        return None
    lower = text.lower()
    shop = next((shop for shop in SHOPS if shop.lower() in lower), None)
    day = next((day.lower() for day in DAYS if day.lower() in lower), None)
    if "receipt" in lower:
        return "email_receipt", parcel.group(), {}
    if shop:
        return "redirect_to_shop", parcel.group(), {"shop": shop}
    if day:
        return "change_day", parcel.group(), {"day": day}
    if re.search(r"arrived|box of|i got|my delivery|came", lower):
        severity = "major" if any(word in lower for word in MAJOR) else "minor"
        return "report_damage", parcel.group(), {"severity": severity}
    if re.search(r"cancel|stop the delivery", lower):
        return "cancel_parcel", parcel.group(), {}
    return "track_parcel", parcel.group(), {}


ANSWERS: dict[str, Callable[[dict[str, Any], dict[str, Any], str], str]] = {
    "track_parcel": lambda args, result, parcel: f"Parcel {parcel} is {result['status']} in {result['city']}.",
    "change_day": lambda args, result, parcel: f"Parcel {parcel} now comes on {args['day'].capitalize()}.",
    "redirect_to_shop": lambda args, result, parcel: f"Collect it at the {args['shop']} with code {result['code']}.",
    "report_damage": lambda args, result, parcel: f"We are sorry. Your case is {result['case']}.",
    "email_receipt": lambda args, result, parcel: f"The receipt for {parcel} is on its way.",
    "cancel_parcel": lambda args, result, parcel: (
        f"Parcel {parcel} is cancelled, you get {result['refund']} euros back."
    ),
}


def answer(body: dict[str, Any], plain_numbers: bool) -> dict[str, Any]:
    """The assistant message for a request."""
    messages = body["messages"]
    if messages[-1]["role"] == "tool":
        called = messages[-2]["tool_calls"][0]["function"]
        arguments = json.loads(called["arguments"])
        id_field = next(iter(arguments))
        text = ANSWERS[called["name"]](arguments, json.loads(messages[-1]["content"]), arguments[id_field])
        return {"role": "assistant", "content": text}
    chosen = choose_call(messages[-1]["content"])
    if chosen is None:
        return {"role": "assistant", "content": ONLY_PARCELS}
    name, parcel, further = chosen
    offered = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or ()}
    if name not in offered:
        return {
            "role": "assistant",
            "content": f"For parcel {parcel} I need the tool {name}, which I do not have.",
        }
    tool = offered[name]
    id_field = tool["parameters"]["required"][0]
    arguments = {id_field: parcel.replace("-", "") if plain_numbers else parcel, **further}
    function = {"name": name, "arguments": json.dumps(arguments)}
    identity = f"call_{sum(len(str(message)) for message in messages):x}{parcel[-5:]}"
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": identity, "type": "function", "function": function}],
    }


def completion(message: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """The whole `chat.completion` object of an answer. Token counts are estimated at four characters a token."""
    prompt = len(json.dumps([body["messages"], body.get("tools")])) // 4
    written = max(1, len(json.dumps(message)) // 4)
    return {
        "id": f"chatcmpl-{time.time_ns():x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body.get("model", "desk-large"),
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": "tool_calls" if message.get("tool_calls") else "stop",
            }
        ],
        "usage": {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written},
    }


def create_app(answer: Callable[[dict[str, Any], bool], dict[str, Any]] = answer) -> FastAPI:
    """A server that says what `answer` gives for a request and the habit, which is as it starts."""
    app = FastAPI(title="A desk's teacher")
    habits = {"plain_numbers": False}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = msgspec.json.decode(await request.body())
        reply = completion(answer(body, habits["plain_numbers"]), body)
        if not body.get("stream"):
            return JSONResponse(reply)

        async def stream() -> AsyncIterator[bytes]:
            for frame in frames_of(reply, bool((body.get("stream_options") or {}).get("include_usage"))):
                yield frame

        return StreamingResponse(stream(), media_type="text/event-stream")

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {
            "object": "list",
            "data": [{"id": "desk-large", "object": "model", "created": 0, "owned_by": "parcels"}],
        }

    @app.post("/habits")
    async def change(request: Request) -> dict[str, bool]:
        habits.update(msgspec.json.decode(await request.body(), type=dict[str, bool]))
        return habits

    return app


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="The parcel desk's teacher.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8410)
    options = parser.parse_args()
    serve_app(create_app(), options.host, options.port)


if __name__ == "__main__":
    main()
