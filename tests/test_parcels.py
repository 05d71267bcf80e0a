"""The example agent, its tasks and its teacher."""

import asyncio
import json
from itertools import islice

import httpx
import pytest

from tutelage.examples.parcels.agent import Desk, serve_all
from tutelage.examples.parcels.desk import run_tool, tools
from tutelage.examples.parcels.tasks import PHRASES, make_tasks
from tutelage.examples.parcels.teacher import ONLY_PARCELS, answer, choose_call, create_app

TOOL = {
    "track": "track_parcel",
    "move": "change_day",
    "pickup": "redirect_to_shop",
    "damage": "report_damage",
    "receipt": "email_receipt",
    "cancel": "cancel_parcel",
}


def test_tasks_are_seeded_varied_and_of_every_kind() -> None:
    first = list(islice(make_tasks(3), 500))
    assert first == list(islice(make_tasks(3), 500))
    assert first != list(islice(make_tasks(4), 500))
    assert len({task.text for task in first}) > 480
    assert {task.intent for task in first} == set(PHRASES)


def test_the_teacher_understands_every_task_from_its_text_alone() -> None:
    for task in islice(make_tasks(5), 2000):
        chosen = choose_call(task.text)
        assert (chosen[0] if chosen else None) == TOOL.get(task.intent), task


def test_every_tool_can_run_and_repeats_itself() -> None:
    for tool in tools():
        name = tool["function"]["name"]
        assert run_tool(name, {"parcel": "PA-12345"}) == run_tool(name, {"parcel": "PA-12345"})
        assert isinstance(json.loads(run_tool(name, {})), dict)


@pytest.mark.parametrize(("plain", "number"), [(False, "PA-12345"), (True, "PA12345")])
def test_agent_and_teacher_reach_a_final_sentence(plain: bool, number: str) -> None:
    async def story() -> tuple[Desk, str | None, str | None]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app())) as client:
            await client.post("http://teacher/habits", json={"plain_numbers": plain})
            desk = Desk(client, "http://teacher/v1", id_field="tracking_number")
            tasks = list(islice(make_tasks(1), 40))
            await serve_all(desk, tasks, 4)
            done = await desk.serve(type(tasks[0])("Move PA-12345 to Friday, please.", "move"))
            return desk, done, await desk.serve(type(tasks[0])("tell me a joke.", "other"))

    desk, moved, joke = asyncio.run(story())
    assert moved == f"Parcel {number} now comes on Friday."
    assert joke == ONLY_PARCELS
    assert desk.tally.sessions == 42
    assert (desk.tally.errors, desk.tally.unfinished) == (0, 0)
    assert desk.tally.routes == {"direct": desk.tally.calls}


def test_without_the_tool_the_teacher_says_so_in_words() -> None:
    said = answer({"messages": [{"role": "user", "content": "Where is parcel PA-12345?"}]}, plain_numbers=False)
    assert "track_parcel" in said["content"]


def test_the_teacher_streams_when_asked() -> None:
    async def ask() -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app())) as client:
            messages = [{"role": "user", "content": "where is my parcel PA-12345?"}]
            body = {"model": "desk-large", "messages": messages, "tools": tools(), "stream": True}
            return (await client.post("http://teacher/v1/chat/completions", json=body)).text

    text = asyncio.run(ask())
    assert text.startswith("data: {")
    assert text.endswith("data: [DONE]\n\n")
    assert "track_parcel" in text
