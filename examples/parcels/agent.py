"""The help desk's agent: a plain tool loop over chat completions. It knows nothing of Tutelage.

python -m tutelage.examples.parcels.agent --base-url http://127.0.0.1:8400/v1 --sessions 20
"""

import argparse
import asyncio
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from .desk import SYSTEM, run_tool, tools
from .tasks import Task, make_tasks

MAX_TURNS = 4


@dataclass
class Tally:
    """What the agents saw: calls by who answered, and what went wrong."""

    sessions: int = 0
    calls: int = 0
    routes: dict[str, int] = field(default_factory=dict)
    """Calls by the `x-tutelage-route` header (`direct` without one)."""
    errors: int = 0
    unfinished: int = 0
    """Sessions without a final sentence."""

    def add(self, other: "Tally") -> None:
        """Count another tally in."""
        self.sessions += other.sessions
        self.calls += other.calls
        self.errors += other.errors
        self.unfinished += other.unfinished
        for route, calls in other.routes.items():
            self.routes[route] = self.routes.get(route, 0) + calls


class Desk:
    """The agent. One instance serves many customers at once."""

    def __init__(self, client: httpx.AsyncClient, base_url: str, *, id_field: str = "parcel") -> None:
        self.client = client
        self.url = base_url.rstrip("/") + "/chat/completions"
        self.tools = tools(id_field)
        self.tally = Tally()

    async def serve(self, task: Task) -> str | None:
        """Work on one customer's message until the final sentence; None when there was none."""
        self.tally.sessions += 1
        clock = datetime.now(UTC).strftime("%H:%M")
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": SYSTEM.format(time=clock)},
            {"role": "user", "content": task.text},
        ]
        for _ in range(MAX_TURNS):
            message = await self._ask(messages)
            if message is None:
                break
            messages.append(message)
            if not message.get("tool_calls"):
                return message["content"]
            messages += [self._act(call) for call in message["tool_calls"]]
        self.tally.unfinished += 1
        return None

    async def _ask(self, messages: list[dict[str, Any]]) -> dict[str, Any] | None:
        body = {"model": "desk-large", "messages": messages, "tools": self.tools, "temperature": 0}
        self.tally.calls += 1
        response = await self.client.post(self.url, json=body, headers={"authorization": "Bearer sk-demo"})
        if response.status_code != 200:
            self.tally.errors += 1
            return None
        route = response.headers.get("x-tutelage-route", "direct")
        self.tally.routes[route] = self.tally.routes.get(route, 0) + 1
        return response.json()["choices"][0]["message"]

    @staticmethod
    def _act(call: dict[str, Any]) -> dict[str, Any]:
        function = call["function"]
        result = run_tool(function["name"], json.loads(function["arguments"]))
        return {"role": "tool", "tool_call_id": call["id"], "content": result}


async def serve_all(desk: Desk, tasks: Iterable[Task], concurrency: int) -> None:
    """Serve the tasks, `concurrency` customers at a time."""
    queue = iter(tasks)

    async def worker() -> None:
        for task in queue:
            await desk.serve(task)

    await asyncio.gather(*(worker() for _ in range(concurrency)))


async def _run(base_url: str, sessions: int, concurrency: int, seed: int) -> Tally:
    async with httpx.AsyncClient(timeout=120) as client:
        desk = Desk(client, base_url)
        await serve_all(desk, itertools.islice(make_tasks(seed), sessions), concurrency)
        return desk.tally


def main() -> None:
    """Serve some customers and say who answered."""
    parser = argparse.ArgumentParser(description="The parcel desk's agent.")
    parser.add_argument("--base-url", default="http://127.0.0.1:8400/v1")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(asyncio.run(_run(options.base_url, options.sessions, options.concurrency, options.seed)))


if __name__ == "__main__":
    main()
