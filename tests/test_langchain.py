"""Real LangGraph agents through the real proxy: what their runs are in the store afterwards."""

import asyncio
import itertools
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_desk import Json, call, desk, opened, results, say, system
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, interrupt


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened(tmp_path_factory.mktemp("langchain")) as running:
        yield running


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    if city == "Atlantis":
        raise ValueError("no such city")
    return f"sunny in {city}"


def asked(text: str = "weather?") -> Any:
    return {"messages": [HumanMessage(text)]}


def asking(model: Any) -> Any:
    """A node that asks the model."""

    def node(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    return node


def weatherman(body: Json) -> Json:
    """Asks for two cities at once, then answers."""
    done = results(body)
    return say(" and ".join(done)) if done else call(("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"}))


ANSWER = "sunny in Rome and sunny in Oslo"


def test_a_react_agent_with_parallel_tools_is_one_trajectory(plane: Any) -> None:
    with desk(plane, weatherman) as made:
        agent = create_agent(made.model(), [weather], system_prompt="You know the weather.", name="met")
        answers = [agent.invoke(asked(), made.config())["messages"][-1] for _ in range(2)]
        log = made.log()
    assert {answer.content for answer in answers} == {ANSWER}
    # Who answered, and under which id, is in the answer itself.
    answer = answers[-1]
    assert answer.response_metadata["headers"]["x-tutelage-route"] == "teacher"
    assert answer.response_metadata["headers"]["x-tutelage-call-id"] == log.calls[3]["call_id"]
    first, second = log.runs
    assert log.turns() == [(first, 0), (first, 1), (second, 0), (second, 1)]
    for run in (first, second):
        assert log.outcomes(run) == {"success": True}
        row = log.runs[run]
        assert (row["success"], row["success_source"], row["finished"]) == (True, "plugin:langchain", True)
        assert (row["explicit"], row["parent_id"], row["calls"]) == (True, None, 2)
    assert [row["hint"] for row in log.calls] == ["met"] * 4
    # Two patterns: the agent's user turns and its tool turns.
    patterns = [row["pattern_id"] for row in log.calls]
    assert patterns[:2] == patterns[2:]
    assert len(set(patterns)) == 2


@pytest.mark.parametrize("way", ["stream", "ainvoke", "astream"])
def test_streamed_and_asynchronous_runs_are_named_too(plane: Any, way: str) -> None:
    async def run(agent: Any, config: Any) -> None:
        if way == "ainvoke":
            await agent.ainvoke(asked(), config)
        else:
            assert [part async for part in agent.astream(asked(), config, stream_mode="messages")]
        await model.http_async_client.aclose()

    with desk(plane, weatherman) as made:
        model = made.model(streaming=way != "ainvoke")
        agent = create_agent(model, [weather])
        if way == "stream":
            assert list(agent.stream(asked(), made.config("thread 1"), stream_mode="messages"))
        else:
            asyncio.run(run(agent, made.config("thread 1")))
        log = made.log()
    assert log.turns() == [(log.only(), 0), (log.only(), 1)]
    assert log.outcomes(log.only()) == {"success": True}
    assert {row["stream"] for row in log.calls} == {way != "ainvoke"}
    assert {row["prompt_tokens"] for row in log.calls} == {11}


def test_runs_of_a_thread_are_one_conversation(plane: Any) -> None:
    with desk(plane, lambda body: say(f"answer {len(body['messages'])}")) as made:
        agent = create_agent(made.model(), [], checkpointer=InMemorySaver())
        for thread in ("a", "a", "b"):
            agent.invoke(asked("hello"), made.config(thread))
        log = made.log()
    assert len(log.runs) == 3
    first, second, other = (row["session"] for row in log.calls)
    assert first == second != other
    assert [row["trajectory_id"] for row in log.calls] == list(log.runs)


def supervised(body: Json) -> Json:
    """Three agents: a supervisor that delegates through tools, and two that work for it."""
    prompt, done = system(body), results(body)
    if prompt == "You supervise.":
        return say("report") if done else call(("research", {"topic": "x"}), ("research", {"topic": "y"}))
    if prompt == "You research.":
        return say("found") if done else call(("weather", {"city": "Rome"}))
    return say("written")


def test_sub_agents_are_trajectories_below_the_one_that_called_them(plane: Any) -> None:
    with desk(plane, supervised) as made:
        researcher = create_agent(made.model(), [weather], system_prompt="You research.", name="researcher")

        @tool
        def research(topic: str) -> str:
            """Have somebody look it up."""
            return researcher.invoke(asked(topic))["messages"][-1].content

        supervisor = create_agent(made.model(), [research], system_prompt="You supervise.", name="supervisor")
        writer = create_agent(made.model(), [], system_prompt="You write.", name="writer")
        graph = StateGraph(MessagesState)
        graph.add_node("lead", supervisor)
        graph.add_node("write", writer)
        graph.add_edge(START, "lead")
        graph.add_edge("lead", "write")
        graph.add_edge("write", END)
        graph.compile(name="newsroom").invoke(asked(), made.config("thread 7"))
        log = made.log()
    by_hint = {
        hint: sorted({row["trajectory_id"] for row in log.calls if row["hint"] == hint})
        for hint in ("supervisor", "researcher", "writer")
    }
    assert {hint: len(runs) for hint, runs in by_hint.items()} == {"supervisor": 1, "researcher": 2, "writer": 1}
    [lead], [writing] = by_hint["supervisor"], by_hint["writer"]
    parents = {run: row["parent_id"] for run, row in log.runs.items()}
    # The graph around them asks no model itself: its name stands in the parents only.
    assert parents[lead] == parents[writing]
    assert parents[lead] not in log.runs
    assert [parents[run] for run in by_hint["researcher"]] == [lead, lead]
    assert all(log.outcomes(run) == {"success": True} for run in log.runs)
    assert len({row["session"] for row in log.calls}) == 1
    assert {run: row["calls"] for run, row in log.runs.items()} == {
        lead: 2,
        writing: 1,
        **dict.fromkeys(by_hint["researcher"], 2),
    }


BREAKPOINTS_TOLD = not version("langgraph").startswith(("1.0.", "1.1."))
"""Whether this LangGraph says when it stops at a breakpoint."""


@tool
def book(city: str) -> str:
    """Book a trip, after somebody has agreed."""
    return f"booked {city}: {interrupt('May I?')}"


def agency(body: Json) -> Json:
    done = results(body)
    return say("done") if done else call(("book", {"city": "Rome"}))


@pytest.mark.parametrize("breakpoint_before", [False, True])
def test_an_interrupted_run_goes_on_as_the_same_trajectory(plane: Any, breakpoint_before: bool) -> None:
    with desk(plane, agency if not breakpoint_before else weatherman) as made:
        model, saver = made.model(), InMemorySaver()
        if breakpoint_before:
            agent = create_agent(model, [weather], checkpointer=saver, interrupt_before=["tools"])
        else:
            agent = create_agent(model, [book], checkpointer=saver)
        agent.invoke(asked(), made.config("thread 1"))
        before = made.log()
        run = before.only()
        told = breakpoint_before <= BREAKPOINTS_TOLD
        expected = {"outcome": "interrupted", "interrupts": 1} if told else {"outcome": "tools_not_run"}
        assert before.outcomes(run) == expected
        assert (before.runs[run]["success"], before.runs[run]["finished"]) == (None, False)
        if breakpoint_before:
            agent.update_state({"configurable": {"thread_id": "thread 1"}}, {"messages": []})
        agent.invoke(None if breakpoint_before else Command(resume="yes"), made.config("thread 1"))
        log = made.log()
    assert log.turns() == [(run, 0), (run, 1)]
    assert log.outcomes(run)["success"] is True
    assert log.outcomes(run).get("interrupts") == (1 if told else None)
    assert log.runs[run]["success"] is True


def test_a_new_question_after_an_interrupt_is_a_new_run(plane: Any) -> None:
    script = itertools.chain([call(("book", {"city": "Rome"}))], itertools.repeat(say("never mind")))
    with desk(plane, lambda body: next(script)) as made:
        graph = StateGraph(MessagesState)
        graph.add_node("ask", asking(made.model().bind_tools([book])))
        graph.add_node("tools", ToolNode([book]))
        graph.add_edge(START, "ask")
        graph.add_conditional_edges("ask", tools_condition)
        graph.add_edge("tools", END)
        app = graph.compile(checkpointer=InMemorySaver())
        app.invoke(asked("one"), made.config("thread 1"))
        app.invoke({"messages": [HumanMessage("other")]}, made.config("thread 1"))
        log = made.log()
    assert [row["hint"] for row in log.calls] == ["ask", "ask"]
    assert len(log.runs) == 2


def test_another_process_finds_the_trajectory_by_its_messages(plane: Any) -> None:
    """Who resumes does not know how the run was called, so the proxy decides; the outcome is said about the call."""
    with desk(plane, agency) as made:
        agent = create_agent(made.model(), [book], checkpointer=InMemorySaver())
        agent.invoke(asked(), made.config("thread 1"))
        elsewhere: Any = {**made.config("thread 1"), "callbacks": [made.another()]}
        agent.invoke(Command(resume="yes"), elsewhere)
        log = made.log()
    assert log.turns() == [(log.only(), 0), (log.only(), 1)]
    assert log.runs[log.only()]["success_source"] == "plugin:langchain"
    assert log.runs[log.only()]["success"] is True


def stubborn(body: Json) -> Json:
    """Tries a city that does not exist, then one that does."""
    done = results(body)
    if not done:
        return call(("weather", {"city": "Atlantis"}))
    return say("sunny") if done[-1].startswith("sunny") else call(("weather", {"city": "Rome"}))


def test_a_failed_tool_that_is_tried_again_is_no_failure_of_the_run(plane: Any) -> None:
    with desk(plane, stubborn) as made:
        graph = StateGraph(MessagesState)
        graph.add_node("forecast", asking(made.model().bind_tools([weather])))
        graph.add_node("tools", ToolNode([weather], handle_tool_errors=True))
        graph.add_edge(START, "forecast")
        graph.add_conditional_edges("forecast", tools_condition)
        graph.add_edge("tools", "forecast")
        graph.compile(name="desk").invoke(asked(), made.config())
        log = made.log()
    run = log.only()
    assert log.outcomes(run) == {"tool_errors": 1, "retries": 1, "success": True}
    assert [row["hint"] for row in log.calls] == ["desk.forecast"] * 3
    [error] = [row for row in log.said if row["metric"] == "tool_error"]
    assert error["call_id"] == log.calls[0]["call_id"]
    assert error["comment"] == "weather: ValueError: no such city"
    assert log.runs[run]["success"] is True


def test_retries_inside_of_a_tool_call_are_counted(plane: Any) -> None:
    failing = itertools.count()

    @tool
    def shaky(city: str) -> str:
        """Works at the third attempt."""
        if next(failing) < 2:
            raise TimeoutError("slow")
        return f"sunny in {city}"

    def script(body: Json) -> Json:
        return say("ok") if results(body) else call(("shaky", {"city": "Rome"}))

    with desk(plane, script) as made:
        patient = ToolRetryMiddleware(max_retries=3, initial_delay=0.0, jitter=False)
        create_agent(made.model(), [shaky], middleware=[patient]).invoke(asked(), made.config())
        log = made.log()
    assert log.outcomes(log.only()) == {"tool_errors": 2, "retries": 2, "outcome": "after_tool_error"}
    # No opinion of the plugin: the guess from the calls stands.
    assert log.runs[log.only()]["success_source"] == "heuristic"


def test_a_run_that_raises_has_failed(plane: Any) -> None:
    with desk(plane, lambda body: call(("weather", {"city": "Atlantis"}))) as made:
        agent = create_agent(made.model(), [weather])
        with pytest.raises(ValueError, match="no such city"):
            agent.invoke(asked(), made.config())
        log = made.log()
    run = log.only()
    assert log.outcomes(run) == {"tool_errors": 1, "success": False}
    assert [row["comment"] for row in log.said if row["metric"] == "success"] == ["ValueError: no such city"]
    assert (log.runs[run]["success"], log.runs[run]["success_source"]) == (False, "plugin:langchain")


def test_a_run_without_end_has_failed(plane: Any) -> None:
    with desk(plane, lambda body: call(("weather", {"city": "Rome"}))) as made:
        with pytest.raises(GraphRecursionError):
            create_agent(made.model(), [weather]).invoke(asked(), made.config(recursion_limit=5))
        log = made.log()
    assert log.outcomes(log.only()) == {"success": False}


def test_an_answer_that_was_cut_off_is_no_success(plane: Any) -> None:
    with desk(plane, lambda body: {**say("and then"), "finish": "length"}) as made:
        create_agent(made.model(), []).invoke(asked(), made.config())
        log = made.log()
    assert log.outcomes(log.only()) == {"outcome": "cut_off:length"}
    assert log.runs[log.only()]["success_source"] == "heuristic_length"


def test_names_in_the_metadata_win(plane: Any) -> None:
    with desk(plane, weatherman) as made:
        names = {"tutelage_trajectory": "Auftrag 17 – ü", "tutelage_pattern": "forecasts"}
        create_agent(made.model(), [weather]).invoke(asked(), made.config(metadata=names))
        log = made.log()
    assert log.only() == "x:Auftrag 17 %E2%80%93 %C3%BC"
    assert {row["hint"] for row in log.calls} == {"forecasts"}
    assert log.outcomes(log.only()) == {"success": True}


def test_tasks_of_the_functional_interface_belong_to_their_run(plane: Any) -> None:
    with desk(plane, lambda body: say("ok")) as made:
        model = made.model()

        @task
        def step(text: str) -> str:
            return model.invoke(text).text

        @entrypoint(checkpointer=InMemorySaver())
        def flow(text: str) -> str:
            return model.invoke(text).text + step("a").result() + step("b").result()

        assert flow.invoke("hello", made.config("thread 1")) == "okokok"
        log = made.log()
    assert len(log.calls) == 3
    assert {row["trajectory_id"] for row in log.calls} == {log.only()}
    assert [row["hint"] for row in log.calls] == ["flow", "step", "step"]


def test_a_model_alone_leaves_the_runs_to_the_proxy(plane: Any) -> None:
    with desk(plane, lambda body: say(f"answer {len(body['messages'])}")) as made:
        model, said = made.model(), [HumanMessage("hello")]
        for _ in range(2):
            said += [model.invoke(said, made.config()), HumanMessage("and?")]
        log = made.log()
    assert log.turns() == [(log.only(), 0), (log.only(), 1)]
    assert log.only() == log.calls[0]["call_id"]
    assert log.said == []
