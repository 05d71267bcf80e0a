"""A teacher and a student of known risk, as one OpenAI-compatible server: `python scripted_models.py PORT`.

Both mark parcels. The teacher (`/teacher/v1`) is always right. The student (`/student/v1`) is wrong on a share of the
parcels that `POST /risk {"risk": 0.3}` sets, drawn by the parcel's hash, so a session fails or not whoever asks.
"""

import hashlib
import json
import re
import sys
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tutelage.proxy.standalone import serve_app

PARCEL = re.compile(r"P\d{5}")


def wrong(parcel: str, risk: float) -> bool:
    """Whether the student fails on a parcel."""
    return int.from_bytes(hashlib.sha256(parcel.encode()).digest()[:6], "big") / 2**48 < risk


def completion(parcel: str, status: str) -> dict[str, Any]:
    function = {"name": "set_status", "arguments": json.dumps({"parcel": parcel, "status": status})}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def create_app() -> Starlette:
    """The application; it remembers the risk."""
    now = {"risk": 0.0}

    async def answer(request: Request) -> Response:
        body = msgspec.json.decode(await request.body())
        parcel = PARCEL.findall(body["messages"][-1]["content"])[-1]
        fails = request.url.path.startswith("/student") and wrong(parcel, now["risk"])
        return JSONResponse(completion(parcel, "lost" if fails else "sent"), headers={"x-tutelage-confidence": "-0.1"})

    async def change(request: Request) -> Response:
        now.update(msgspec.json.decode(await request.body()))
        return JSONResponse(now)

    async def models(_: Request) -> Response:
        return JSONResponse({"object": "list", "data": []})

    chat = [Route(f"/{who}/v1/chat/completions", answer, methods=["POST"]) for who in ("teacher", "student")]
    return Starlette(routes=[*chat, Route("/risk", change, methods=["POST"]), Route("/v1/models", models)])


if __name__ == "__main__":
    serve_app(create_app(), "127.0.0.1", int(sys.argv[1]))
