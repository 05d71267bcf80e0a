"""Names on their way to the proxy: what goes over the wire, and when."""

import asyncio
from contextvars import copy_context
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.plugins.tags import CURRENT, LONGEST_NAME, Announced, Tag, name_of, tag_requests


@given(st.text())
def test_any_name_can_be_sent_and_stays_itself(text: str) -> None:
    name = name_of(text)
    assert name.isascii()
    assert len(name) <= LONGEST_NAME
    assert all(" " <= one <= "~" for one in name)
    assert httpx.Headers({"x": name})["x"] == name
    if text.isascii() and text.isprintable() and "%" not in text and len(text) <= LONGEST_NAME:
        assert name == text.strip()


def test_names_that_differ_stay_different() -> None:
    texts = ["ü", "%C3%BC", "a b", "a%20b", "x" * 300, "x" * 301, "x" * LONGEST_NAME]
    assert len({name_of(text) for text in texts}) == len(texts)


def sent_by(tag: Tag, *requests: dict[str, str], announce: bool = True) -> list[httpx.Headers]:
    """What arrives of requests that are sent while a call is announced."""
    seen: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(200)

    def send() -> None:
        with tag_requests(httpx.Client(transport=httpx.MockTransport(answer))) as client:
            if announce:
                CURRENT.set(Announced(tag))
            for headers in requests:
                client.get("http://proxy.test", headers=headers)

    copy_context().run(send)
    return seen


TAG = Tag("run", "up", "thread", "desk")


def test_the_names_are_put_on_the_request() -> None:
    [headers] = sent_by(TAG, {})
    said = {name: value for name, value in headers.items() if name.startswith("x-tutelage-")}
    assert said == {
        "x-tutelage-trajectory": "run",
        "x-tutelage-parent": "up",
        "x-tutelage-conversation": "thread",
        "x-tutelage-pattern": "desk",
    }
    assert "x-tutelage-parent" not in sent_by(Tag("run"), {})[0]


def test_what_is_there_already_stays() -> None:
    [headers] = sent_by(TAG, {"x-tutelage-trajectory": "mine"})
    assert (headers["x-tutelage-trajectory"], headers["x-tutelage-pattern"]) == ("mine", "desk")


def test_a_call_is_tagged_once_and_its_retries_too() -> None:
    retry = {"x-stainless-retry-count": "1"}
    tagged = ["x-tutelage-trajectory" in one for one in sent_by(TAG, {}, retry, {"x-stainless-retry-count": "0"}, {})]
    assert tagged == [True, True, False, False]


def test_nothing_is_said_of_calls_that_nobody_announced() -> None:
    assert "x-tutelage-trajectory" not in sent_by(TAG, {}, announce=False)[0]


@pytest.mark.parametrize("hooked", [False, True])
def test_asynchronous_clients_and_hooks_of_others(hooked: bool) -> None:
    seen: list[Any] = []

    async def other(request: httpx.Request) -> None:
        seen.append("other")

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("x-tutelage-trajectory"))
        return httpx.Response(200)

    async def send() -> None:
        client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        client.event_hooks = {"request": [other] if hooked else []}
        async with tag_requests(client, is_async=True):
            CURRENT.set(Announced(TAG))
            await client.get("http://proxy.test")

    asyncio.run(send())
    assert seen == (["other"] if hooked else []) + ["run"]
