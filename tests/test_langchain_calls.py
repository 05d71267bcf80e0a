"""One call between announcement and answer: its id, whether the proxy has it, and the record."""

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from tutelage.plugins.langchain_calls import Call
from tutelage.plugins.tags import Announced, Tag
from tutelage.proxy.intake_form import record_in
from tutelage.traffic.canonical import canonical

TAG = Tag("run", "up", "thread", "desk")


def made(**fields: Any) -> Call:
    known: dict[str, Any] = {"messages": [HumanMessage("hello")], "invocation": {"model": "m"}, "metadata": {}}
    return Call(Announced(TAG), "run-1", 1_800_000_000.0, **{**known, **fields})


def result(**metadata: Any) -> LLMResult:
    message = AIMessage("hi", response_metadata=metadata)
    return LLMResult(generations=[[ChatGeneration(message=message)]])


HEADERS = {"x-tutelage-call-id": "0199-call"}


@pytest.mark.parametrize(
    ("metadata", "call_id", "proxied"),
    [
        ({"id": "chatcmpl-1"}, "chatcmpl-1", False),
        ({"id": "chatcmpl-1", "headers": HEADERS}, "0199-call", True),
        ({"headers": HEADERS}, "0199-call", True),
        ({"headers": "odd"}, "", False),
        ({}, "", False),
    ],
)
def test_ids(metadata: dict[str, Any], call_id: str, proxied: bool) -> None:
    assert made().call_id(result(**metadata)) == call_id
    assert made().proxied(result(**metadata)) == proxied


def test_a_call_that_was_tagged_went_through_the_proxy() -> None:
    call = made()
    call.announced.sent = TAG.headers()
    assert call.proxied(result())


def test_the_record_is_one_that_the_proxy_takes() -> None:
    call = made(first_at=1_800_000_000.25)
    record = record_in(canonical(call.logged(1_800_000_001.5, result=result(finish_reason="stop"))), "caller")
    assert (record.trajectory, record.parent, record.hint) == ("run", "up", "desk")
    assert (record.latency_ms, record.first_byte_ms, record.stream, record.status) == (1500.0, 250.0, True, 200)


@pytest.mark.parametrize(("status", "kept"), [(429, 429), (None, 502), ("x", 502), (7, 502)])
def test_a_failed_call_is_recorded_with_its_reason(status: Any, kept: int) -> None:
    class Refused(Exception):
        status_code = status

    record = record_in(canonical(made().logged(1_800_000_001.0, error=Refused("slow down"))), "caller")
    assert (record.status, record.error, record.response) == (kept, "Refused: slow down", b"")
    long = made().logged(1_800_000_001.0, error=Refused("x" * 1000))
    assert len(long["error"]) == 200
