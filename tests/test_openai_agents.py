"""Real agents of the OpenAI Agents SDK through a started proxy: runs, parents, patterns and outcomes in the store.

The SDK asks for other versions than the rest of the tests: tests/test_openai_agents_apart.py runs this file.
"""

import asyncio
import itertools
import json
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from conformance.plane import Plane, free_port
from langchain_desk import Desk, Json, Scripted, call, opened, results, say, system

agents: Any = pytest.importorskip("agents", reason="run by tests/test_openai_agents_apart.py")

from tutelage.plugins import openai_agents  # noqa: E402
from tutelage.plugins.langchain import TutelageCallbackHandler  # noqa: E402
from tutelage.plugins.openai_agents import TutelageProcessor, client, connect  # noqa: E402
from tutelage.plugins.server import Server  # noqa: E402

_keys = itertools.count()


def script(body: Json) -> Json:
    """What the teacher says, by the instructions of the agent."""
    found = results(body)
    match system(body):
        case "weather":
            return say(f"It is {' and '.join(found)}.") if found else call(*(("weather", {"town": t}) for t in TOWNS))
        case "front":
            return say(f"They say: {found[0]}") if found else call(("ask_weather", {"input": "both?"}))
        case "triage":
            return call(("transfer_to_weather", {}))
        case "clumsy":
            return say("Done.") if len(found) > 1 else call(("broken", {}))
        case "lost":
            return say("") | {"content": None}
    return say("hello")


TOWNS = ("Oslo", "Rome")


def weather(town: str) -> str:
    """The weather of a town."""
    return f"rain in {town}"


def broken() -> str:
    """Never works."""
    raise ConnectionError("the depot does not answer")


def agent(name: str, *tools: Any, **more: Any) -> Any:
    return agents.Agent(name=name, instructions=name, model="gpt-5-mini", tools=list(tools), **more)


WEATHER = agent("weather", agents.function_tool(weather))


@dataclass
class World:
    """One test's key, server and processor."""

    desk: Desk
    processor: TutelageProcessor
    clients: list[Any]

    def config(self, **more: Any) -> Any:
        """A client of its own for each loop."""
        self.clients.append(client(self.desk.plane.url, api_key=self.desk.key, max_retries=0))
        provider = agents.OpenAIProvider(openai_client=self.clients[-1], use_responses=False)
        return agents.RunConfig(model_provider=provider, **more)

    def run(self, made: Any, said: Any = "hi", **more: Any) -> Any:
        return self.play(self.arun(made, said, **more))

    def play(self, running: Coroutine[Any, Any, Any]) -> Any:
        """Run to its end, and close all clients in the same loop."""

        async def closing() -> Any:
            try:
                return await running
            finally:
                while self.clients:
                    await self.clients.pop().close()

        return asyncio.run(closing())

    async def arun(self, made: Any, said: Any = "hi", config: Any = None, **more: Any) -> Any:
        return await agents.Runner.run(made, said, run_config=config or self.config(), **more)

    def log(self) -> Any:
        assert not self.processor.faults
        assert len(self.processor.runs) == 0
        return self.desk.log()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    with opened(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


def made(plane: Plane, server: Server, key: str) -> World:
    assert isinstance(plane.teacher, Scripted)
    plane.teacher.by_key[key] = script
    processor = TutelageProcessor(server)
    agents.set_trace_processors([processor])
    handler = TutelageCallbackHandler(server)
    return World(Desk(plane, plane.teacher, key, server, handler, []), processor, [])


@pytest.fixture
def world(proxy: Plane) -> Iterator[World]:
    key = f"sk-agents-{next(_keys)}"
    server = Server(proxy.url, key, source=openai_agents.SOURCE, first_pause_s=0.02)
    yield made(proxy, server, key)
    server.shutdown()


def patterns(log: Any) -> list[str]:
    return [row["hint"] for row in log.calls]


def test_a_run_with_parallel_tools(world: World) -> None:
    with agents.trace("desk", group_id="thread 1") as traced:
        assert world.run(WEATHER).final_output == "It is rain in Oslo and rain in Rome."
    log = world.log()
    assert log.turns() == [(f"x:{traced.trace_id}", 0), (f"x:{traced.trace_id}", 1)]
    assert log.outcomes(log.only()) == {"success": True}
    assert {row["hint"] for row in log.calls} == {"weather"}
    assert log.runs[log.only()]["success_source"] == "plugin:openai-agents"


def test_a_streamed_run_is_the_same(world: World) -> None:
    async def stream() -> None:
        result = agents.Runner.run_streamed(WEATHER, "hi", run_config=world.config())
        async for _ in result.stream_events():
            pass
        assert result.final_output == "It is rain in Oslo and rain in Rome."

    world.play(stream())
    log = world.log()
    assert [turn for _, turn in log.turns()] == [0, 1]
    assert all(row["stream"] for row in log.calls)
    assert log.outcomes(log.only()) == {"success": True}


def test_an_agent_as_a_tool_is_a_run_of_its_own_with_a_parent(world: World) -> None:
    front = agent("front", WEATHER.as_tool("ask_weather", "Asks the desk."))
    world.run(front, config=world.config(group_id="thread 2"))
    log = world.log()
    outer, inner = log.calls[0]["trajectory_id"], log.calls[1]["trajectory_id"]
    assert log.turns() == [(outer, 0), (inner, 0), (inner, 1), (outer, 1)]
    assert (log.runs[inner]["parent_id"], log.runs[outer]["parent_id"]) == (outer, None)
    assert patterns(log) == ["front", "weather", "weather", "front"]
    assert len({row["session"] for row in log.calls}) == 1
    assert [log.outcomes(run) for run in (outer, inner)] == [{"success": True}] * 2


def test_a_handoff_stays_in_its_run(world: World) -> None:
    world.run(agent("triage", handoffs=[WEATHER]))
    log = world.log()
    assert [turn for _, turn in log.turns()] == [0, 1]
    assert patterns(log) == ["triage", "weather"]
    assert log.outcomes(log.only()) == {"success": True}


def test_runs_at_the_same_time_in_one_trace_stay_apart(world: World) -> None:
    async def both() -> None:
        with agents.trace("flow"):
            await asyncio.gather(*(world.arun(WEATHER, said) for said in ("x", "y")))

    world.play(both())
    log = world.log()
    assert sorted(turn for _, turn in log.turns()) == [0, 0, 1, 1]
    assert len(log.runs) == 2
    assert all(log.outcomes(run) == {"success": True} for run in log.runs)


def test_names_can_be_given(world: World) -> None:
    named = {"tutelage_trajectory": "order 17", "tutelage_pattern": "weather desk"}
    world.run(WEATHER, config=world.config(trace_metadata=named))
    log = world.log()
    assert log.only() == "x:order 17"
    assert patterns(log) == ["weather desk"] * 2


def test_tools_that_fail_are_counted_and_told_of_the_call_that_asked(world: World) -> None:
    world.run(agent("clumsy", agents.function_tool(broken)))
    log = world.log()
    said = log.outcomes(log.only())
    assert said == {"tool_errors": 2, "retries": 1, "outcome": "after_tool_error"}
    about = [row for row in log.said if row["metric"] == "tool_error"]
    assert [row["call_id"] for row in about] == [row["call_id"] for row in log.calls[:2]]
    # The SDK keeps what tools said out of its traces.
    assert about[0]["comment"].startswith("broken: Error running tool")


def test_a_run_that_is_too_long_has_failed(world: World) -> None:
    with pytest.raises(agents.MaxTurnsExceeded):
        world.run(WEATHER, max_turns=1)
    log = world.log()
    assert log.outcomes(log.only()) == {"success": False}


def test_a_model_that_fails_is_a_failed_run(world: World) -> None:
    world.desk.teacher.by_key[world.desk.key] = lambda body: {"role": "assistant", "content": None, "tool_calls": 3}
    with pytest.raises(Exception, match=r".+"):
        world.run(WEATHER)
    log = world.log()
    assert log.outcomes(log.only()) == {"success": False}


def test_a_guardrail_is_no_failure(world: World) -> None:
    @agents.output_guardrail
    async def rude(context: Any, one: Any, output: Any) -> Any:
        return agents.GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    with pytest.raises(agents.OutputGuardrailTripwireTriggered):
        world.run(agent("polite", output_guardrails=[rude]))
    log = world.log()
    assert log.outcomes(log.only()) == {"outcome": "guardrail:rude"}


def test_without_tracing_the_run_is_found_by_its_messages(world: World) -> None:
    world.run(WEATHER, config=world.config(tracing_disabled=True))
    log = world.log()
    assert [turn for _, turn in log.turns()] == [0, 1]
    assert not log.only().startswith("x:")
    assert log.said == []


def test_one_line_connects_all_agents_of_a_process(proxy: Plane, world: World) -> None:
    assert isinstance(proxy.teacher, Scripted)
    proxy.teacher.by_key["sk-connected"] = script
    agents.set_trace_processors([])
    processor = connect(proxy.url, api_key="sk-connected")

    async def ask() -> Any:
        world.clients.append(agents.models._openai_shared.get_default_openai_client())
        return await agents.Runner.run(WEATHER, "hi")

    result = world.play(ask())
    assert result.final_output == "It is rain in Oslo and rain in Rome."
    processor.force_flush()
    assert processor.server.stats.delivered == 1
    processor.shutdown()


def test_an_agent_never_notices_a_server_that_is_away(proxy: Plane, world: World) -> None:
    away = Server(f"http://127.0.0.1:{free_port()}", "k", first_pause_s=0.02)
    processor = TutelageProcessor(away)
    agents.set_trace_processors([processor])
    assert world.run(WEATHER).final_output == "It is rain in Oslo and rain in Rome."
    assert away.stats.waiting == 1
    assert not away.shutdown(0.1)
    assert not processor.faults


def test_odd_spans_are_harmless(world: World) -> None:
    odd: list[Any] = [None, SimpleNamespace(), SimpleNamespace(trace_id="t", span_id=[], parent_id=None)]
    for one in odd:
        for method in ("on_trace_start", "on_trace_end", "on_span_start", "on_span_end"):
            getattr(world.processor, method)(one)
    assert sum(world.processor.faults.values()) > 0
    assert json.dumps(dict(world.processor.faults))
