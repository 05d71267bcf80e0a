"""The middleware through the real proxy: with a model of one's own, with and without the handler, across processes."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_desk import call, desk, opened, results, say
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from pydantic import SecretStr

from tutelage.plugins.langchain import TutelageMiddleware


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened(tmp_path_factory.mktemp("middleware")) as running:
        yield running


@tool
def book(city: str) -> str:
    """Book a trip, after somebody has agreed."""
    return f"booked {city}: {interrupt('May I?')}" if city == "Rome" else f"booked {city}"


def agency(city: str) -> Any:
    return lambda body: say("done") if results(body) else call(("book", {"city": city}))


def plain(made: Any, **settings: Any) -> Any:
    """A model that knows nothing of Tutelage but its address."""
    return ChatOpenAI(model="gpt-5-mini", base_url=made.plane.url, api_key=SecretStr(made.key), **settings)


def agent_of(made: Any, model: Any = None, **more: Any) -> Any:
    return create_agent(model or plain(made), [book], middleware=[TutelageMiddleware()], name="agency", **more)


ASKED: Any = {"messages": [HumanMessage("Book!")]}


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke"])
def test_a_model_of_ones_own_is_tagged(plane: Any, way: str) -> None:
    async def run(agent: Any, config: Any) -> None:
        await agent.ainvoke(ASKED, config)

    with desk(plane, agency("Oslo")) as made:
        agent, config = agent_of(made), {"configurable": {"thread_id": "thread 1"}}
        if way == "ainvoke":
            asyncio.run(run(agent, config))
        else:
            list(agent.stream(ASKED, config)) if way == "stream" else agent.invoke(ASKED, config)
        log = made.log()
    assert log.turns() == [(log.only(), 0), (log.only(), 1)]
    assert log.only().startswith("x:")
    assert {row["hint"] or "" for row in log.calls} == ({"agency"} if _names_agents() else {""})
    assert len({row["session"] for row in log.calls}) == 1


def _names_agents() -> bool:
    """Whether this LangChain tells nodes the name of their agent."""
    seen: dict[str, Any] = {}

    class Look(TutelageMiddleware):
        def before_agent(self, state: Any, runtime: Any) -> Any:
            from langgraph.config import get_config

            seen.update(get_config().get("metadata", {}))

    model = GenericFakeChatModel(messages=iter([AIMessage("hi")]))
    create_agent(model, [], middleware=[Look()], name="agency").invoke(ASKED)
    return "lc_agent_name" in seen


def test_beside_the_handler_both_say_the_same(plane: Any) -> None:
    with desk(plane, agency("Oslo")) as made:
        agent_of(made, made.model()).invoke(ASKED, made.config("thread 1"))
        agent_of(made).invoke(ASKED, made.config("thread 1"))
        log = made.log()
    assert len(log.runs) == 2
    assert all(log.outcomes(run) == {"success": True} for run in log.runs)
    assert {row["hint"] for row in log.calls} == {"agency"}
    assert len({row["session"] for row in log.calls}) == 1


@pytest.mark.parametrize("handled", [False, True])
def test_a_run_that_another_process_continues_stays_one_trajectory(plane: Any, handled: bool) -> None:
    with desk(plane, agency("Rome")) as made:
        agent = agent_of(made, checkpointer=InMemorySaver())
        configs = [made.config("thread 1"), {**made.config("thread 1"), "callbacks": [made.another()]}]
        if not handled:
            configs = [{"configurable": {"thread_id": "thread 1"}}] * 2
        agent.invoke(ASKED, configs[0])
        agent.invoke(Command(resume="yes"), configs[1])
        agent.invoke(ASKED, configs[1])  # a new question is a new run
        log = made.log()
    first, second = log.runs
    assert log.turns()[:2] == [(first, 0), (first, 1)]
    assert {run for run, _ in log.turns()[2:]} == {second}
    if handled:
        assert log.outcomes(first)["success"] is True


def test_headers_and_names_of_the_user_stay(plane: Any) -> None:
    with desk(plane, agency("Oslo")) as made:
        model = plain(made, default_headers={"x-tutelage-pattern": "mine"})
        config = {"metadata": {"tutelage_trajectory": "order 17", "tutelage_pattern": "trips"}}
        agent_of(made, model).invoke(ASKED, config)
        log = made.log()
    assert log.only() == "x:order 17"
    assert {row["hint"] for row in log.calls} == {"trips"}


def test_models_without_openai_s_client_are_left_alone() -> None:
    model = GenericFakeChatModel(messages=iter([AIMessage("hi")]))
    agent = create_agent(model, [], middleware=[TutelageMiddleware()])
    result = agent.invoke(ASKED)
    assert result["messages"][-1].content == "hi"
    assert "tutelage_trajectory" not in result
