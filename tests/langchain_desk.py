"""For tests of the LangChain plugin: a teacher that says what a function tells it, and what became of it in the store.

Each test has a key of its own, so that its calls are told from the others' by their caller.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from conformance.plane import Plane, started
from conformance.protocols import DONE, frame
from conformance.teacher import Teacher
from conformance.wire import Seen, Step, chunked, whole

from tutelage.plugins.langchain import TutelageCallbackHandler, chat_model
from tutelage.plugins.langchain_runs import Threads
from tutelage.plugins.server import Server
from tutelage.proxy.callers import caller_of
from tutelage.traffic import feedback_rows, outcomes
from tutelage.traffic.discovery import Discovery
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.journal_reader import JournalReader
from tutelage.traffic.layout import DataDir
from tutelage.traffic.outcome_rules import OutcomeRules
from tutelage.traffic.patterns import Registry
from tutelage.traffic.store import Store

Json = dict[str, Any]
Script = Callable[[Json], Json]
"""The assistant's message that answers a request body."""
_ids = itertools.count()


def say(text: str) -> Json:
    return {"role": "assistant", "content": text}


def call(*tools: tuple[str, Json]) -> Json:
    """An answer that calls tools."""
    calls = [
        {
            "id": f"call_{next(_ids)}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        for name, arguments in tools
    ]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def results(body: Json) -> list[str]:
    """What the tools gave so far."""
    return [message["content"] for message in body["messages"] if message["role"] == "tool"]


def system(body: Json) -> str:
    """The system prompt."""
    first = body["messages"][0]
    return first["content"] if first["role"] == "system" else ""


class Scripted(Teacher):
    """Answers chats by the script of the key that they come with."""

    def __init__(self) -> None:
        super().__init__()
        self.by_key: dict[str, Script] = {}

    async def _steps(self, seen: Seen) -> list[Step]:
        if seen.target != "/v1/chat/completions":
            return await super()._steps(seen)
        body = json.loads(seen.body)
        message = self.by_key[seen.get("authorization").removeprefix("Bearer ")](body)
        finish = "tool_calls" if message.get("tool_calls") else message.pop("finish", "stop")
        counts = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
        name = f"chatcmpl-{next(_ids)}"
        fixed = {"id": name, "created": 1_700_000_000, "model": "teacher-1"}
        if not body.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish}
            told = {**fixed, "object": "chat.completion", "choices": [choice], "usage": counts}
            return whole("200 OK", json.dumps(told).encode())
        fixed["object"] = "chat.completion.chunk"
        calls = [{**one, "index": at} for at, one in enumerate(message.get("tool_calls") or ())]
        deltas = [{"role": "assistant", "content": message["content"]}, *([{"tool_calls": calls}] if calls else [])]
        choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": finish})
        frames = [frame({**fixed, "choices": [choice], "usage": None}) for choice in choices]
        return chunked([*frames, frame({**fixed, "choices": [], "usage": counts}), DONE])


@dataclass
class Desk:
    """One test's agent: its key, its server, its handler."""

    plane: Plane
    teacher: Scripted
    key: str
    server: Server
    handler: TutelageCallbackHandler
    clients: list[Any]

    def model(self, **settings: Any) -> Any:
        """A chat model behind the proxy."""
        made = chat_model("gpt-5-mini", server=self.plane.url, api_key=self.key, max_retries=0, **settings)
        self.clients.append(made.http_client)
        return made

    def config(self, thread: str = "", **more: Any) -> Any:
        """A run's config."""
        return {"callbacks": [self.handler], **({"configurable": {"thread_id": thread}} if thread else {}), **more}

    def another(self, **settings: Any) -> TutelageCallbackHandler:
        """A handler as another process would have it."""
        return TutelageCallbackHandler(self.server, **{"threads": Threads(), **settings})

    def log(self) -> "Log":
        """What the store holds of this test, taken in from the journal as the control plane does it."""
        assert self.handler.flush(20), self.server.stats
        assert not self.handler.faults
        batch = JournalReader(self.plane.data / "journal").read({}, 1 << 30)
        with TemporaryDirectory() as folder, Store(Path(folder) / "store.duckdb") as store:
            calls = feedback_rows.take(store, batch.records)
            Ingest(store, Discovery(Registry())).apply(calls, batch.positions)
            feedback_rows.resolve(store, time.time() + 1)
            while outcomes.label_runs(store, OutcomeRules()):
                pass
            secret = DataDir(self.plane.data).read_secret()
            mark = caller_of({"authorization": f"Bearer {self.key}"}, secret)
            calls = store.query("SELECT * FROM calls WHERE caller = ? ORDER BY started_at, call_id", [mark])
            runs = store.query("SELECT * FROM trajectories WHERE caller = ? ORDER BY first_at", [mark])
            said = store.query(
                "SELECT f.*, t.trajectory_id AS run FROM feedback f LEFT JOIN trajectories t USING (trajectory_id)"
                ' WHERE f.caller = ? ORDER BY f."at", f.feedback_id',
                [mark],
            )
        return Log(calls, {run["trajectory_id"]: run for run in runs}, said)


@dataclass
class Log:
    """Rows of one caller."""

    calls: list[Json]
    runs: dict[str, Json]
    said: list[Json]

    def turns(self) -> list[tuple[str, int]]:
        """(trajectory, turn) of each call."""
        return [(row["trajectory_id"], row["turn"]) for row in self.calls]

    def outcomes(self, run: str) -> Json:
        """The newest value of each metric about a trajectory itself."""
        found: Json = {}
        for row in self.said:
            if row["run"] == run and row["kind"] == "trajectory":
                values = (row["flag"], row["number"], row["text"])
                found[row["metric"]] = next(value for value in values if value is not None)
        return found

    def only(self) -> str:
        """The one trajectory."""
        [run] = self.runs
        return run


@contextmanager
def opened(data: Path) -> Iterator[Plane]:
    """A data plane in front of a scripted teacher."""
    with started(data, Scripted()) as plane:
        yield plane


@contextmanager
def desk(plane: Plane, script: Script, **settings: Any) -> Iterator[Desk]:
    """A test's own key and handler."""
    assert isinstance(plane.teacher, Scripted)
    key = f"sk-langchain-{next(_ids)}"
    plane.teacher.by_key[key] = script
    server = Server(plane.url, key, source="plugin:langchain", first_pause_s=0.02)
    handler = TutelageCallbackHandler(server, **{"threads": Threads(), **settings})
    made = Desk(plane, plane.teacher, key, server, handler, [])
    try:
        yield made
    finally:
        server.shutdown()
        for client in made.clients:
            client.close()
