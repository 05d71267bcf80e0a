"""What the LangChain handler costs an agent: µs per callback, and the share of an agent's run.

    python -m benchmarks.callbacks [--quick] [--json FILE]

A real agent (a model that answers from memory, one tool, a prompt, a conversation of 20 messages) is run once, and its
callbacks are kept. They are then played to the handler again and again with fresh run ids, and each is timed by itself,
by the CPU time of the agent's thread: played without pauses, the wall clock would show how threads wait for each other.
What the handler posts goes to a transport in memory, in the handler's own thread. Whole runs are compared by the CPU
time of the process, both threads, in turns: without callbacks, with a handler that does nothing, and with ours.
"""

import statistics
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import httpx
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.tools import tool

from tutelage.plugins.langchain import TutelageCallbackHandler
from tutelage.plugins.langchain_runs import Threads
from tutelage.plugins.server import Server

from . import report

BAR_US, RECORD_BAR_US = 50.0, 1000.0
_TIMED = ("on_chain_start", "on_chain_end", "on_chat_model_start", "on_llm_new_token", "on_llm_end")
_TIMED += ("on_tool_start", "on_tool_end")
Event = tuple[str, tuple[Any, ...], dict[str, Any]]


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


class FakeModel(GenericFakeChatModel):
    """Takes tools, and leaves them alone."""

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        """A model that is told of the tools as OpenAI's would be."""
        return self.bind(tools=[{"type": "function", "function": {"name": one.name}} for one in tools], **kwargs)


def run_agent(callbacks: list[BaseCallbackHandler]) -> None:
    """One run: two answers and a tool in between."""
    asks: Any = {"name": "weather", "args": {"city": "Rome"}, "id": "call_1", "type": "tool_call"}
    usage: Any = {"input_tokens": 900, "output_tokens": 20, "total_tokens": 920}
    answers = [AIMessage("", tool_calls=[asks], usage_metadata=usage), AIMessage("It is sunny in Rome today.")]
    agent = create_agent(FakeModel(messages=iter(answers)), [weather], system_prompt="You know the weather. " * 20)
    said: list[BaseMessage] = []
    for number in range(9):
        said += [HumanMessage(f"Question {number} about the weather?"), AIMessage(f"Answer {number}. " * 10)]
    asked: Any = {"messages": [*said, HumanMessage("And in Rome?")]}
    agent.invoke(asked, {"callbacks": callbacks})


class Tape(BaseCallbackHandler):
    """Keeps the callbacks of a run."""

    run_inline = True

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        def keep(*arguments: Any, **named: Any) -> None:
            self.events.append((name, arguments, named))
            if name == "on_chat_model_start":
                # As if the answer were streamed.
                self.events.append(("on_llm_new_token", ("It",), {"run_id": named["run_id"]}))

        return keep


class Idle(BaseCallbackHandler):
    """Gets all callbacks and does nothing."""

    run_inline = True


def handler(record: bool) -> TutelageCallbackHandler:
    """Ours, with a server in memory."""
    transport = httpx.MockTransport(lambda _: httpx.Response(202, json={}))
    server = Server("http://127.0.0.1:1", "k", transport=transport)
    return TutelageCallbackHandler(server, record=record, threads=Threads())


class Cost(NamedTuple):
    """Of one kind of callback, in µs of CPU."""

    events: int
    mean: float
    p50: float
    p99: float


def per_event(events: Sequence[Event], record: bool, rounds: int) -> dict[str, Cost]:
    """Play the tape `rounds` times; the cost by callback."""
    ours = handler(record)
    spent: dict[str, list[float]] = defaultdict(list)
    clock = time.thread_time_ns
    for _ in range(rounds):
        fresh: dict[Any, Any] = defaultdict(uuid.uuid4)
        for name, arguments, named in events:
            known = {**named, "run_id": fresh[named["run_id"]]}
            if named.get("parent_run_id"):
                known["parent_run_id"] = fresh[named["parent_run_id"]]
            method = getattr(ours, name)
            began = clock()
            method(*arguments, **known)
            spent[name].append((clock() - began) / 1000)
    assert not ours.faults, ours.faults
    assert not len(ours.runs)
    assert ours.shutdown(60)
    return {name: _cost(spent[name]) for name in _TIMED if spent[name]}


def _cost(spent: list[float]) -> Cost:
    ordered = sorted(spent)
    return Cost(len(ordered), statistics.fmean(ordered), ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)])


def whole_runs(rounds: int) -> dict[str, float]:
    """ms of CPU per run, the median of rounds that take turns."""
    ours, recording = handler(False), handler(True)
    ways: dict[str, Callable[[], list[BaseCallbackHandler]]] = {
        "no callbacks": list,
        "a handler that does nothing": lambda: [Idle()],
        "ours": lambda: [ours],
        "ours, recording": lambda: [recording],
    }
    spent: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, made in ways.items():
            callbacks = made()
            began = time.process_time()
            for _ in range(5):
                run_agent(callbacks)
            spent[name].append((time.process_time() - began) * 200)
    for one in (ours, recording):
        one.shutdown(60)
    return {name: statistics.median(values) for name, values in spent.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, compare, print."""
    run = report.start("callbacks", __doc__, arguments)
    tape = Tape()
    run_agent([tape])
    rounds = 100 if run.quick else 2000
    named, recorded = (per_event(tape.events, record, rounds) for record in (False, True))
    runs = whole_runs(5 if run.quick else 40)
    bars = [report.at_most(f"{name}, mean", cost.mean, "µs", BAR_US) for name, cost in named.items()]
    bars += [
        report.at_most(f"{name}, mean, recording", cost.mean, "µs", RECORD_BAR_US)
        for name, cost in recorded.items()
        if name in ("on_chat_model_start", "on_llm_end")
    ]
    mean = sum(cost.mean * cost.events for cost in named.values()) / sum(cost.events for cost in named.values())
    bars.append(report.at_most("all callbacks of a run, mean", mean, "µs", BAR_US))
    idle = runs["a handler that does nothing"]
    bars.append(report.at_most("CPU of a run, against a handler that does nothing", runs["ours"] / idle, "x", 1.25))
    raw = {
        "events of a run": len(tape.events),
        "named": {name: cost._asdict() for name, cost in named.items()},
        "recording": {name: cost._asdict() for name, cost in recorded.items()},
        "ms of CPU per run": runs,
    }
    return report.finish(run, bars, raw, ("langchain", "langchain-core", "langgraph"))


if __name__ == "__main__":
    sys.exit(main())
