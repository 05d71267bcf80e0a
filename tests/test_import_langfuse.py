"""Langfuse's exports: of the API, of the page, alone and inside traces."""

import json
from typing import Any

import pytest

from tutelage.traffic.errors import BadInput
from tutelage.traffic.import_langfuse import looks_like, read
from tutelage.traffic.imported import Exchange, Skip

USER, HELLO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
TOOLS = [{"type": "function", "function": {"name": "f"}}]
ROW: dict[str, Any] = {
    "id": "obs-1",
    "traceId": "trace",
    "type": "GENERATION",
    "startTime": "2027-01-15T08:00:00.000Z",
    "endTime": "2027-01-15T08:00:02.000Z",
    "completionStartTime": None,
    "model": "gpt-x",
    "modelParameters": {"temperature": 0.5},
    "input": {"messages": [USER], "tools": TOOLS},
    "output": HELLO,
    "usageDetails": {"input": 10, "output": 2, "total": 12},
    "level": "DEFAULT",
}


def only(row: dict[str, Any]) -> Exchange:
    [call] = read(row)
    assert isinstance(call, Exchange)
    return call


def test_a_generation() -> None:
    assert looks_like(ROW)
    call = only(ROW)
    assert call.request == {"model": "gpt-x", "temperature": 0.5, "tools": TOOLS, "messages": [USER]}
    assert (call.answer, call.key, call.at, call.latency_ms) == (HELLO, "obs-1", 1.8e9, 2_000.0)
    assert call.usage["prompt_tokens"] == 10
    assert call.session == "trace"


def test_the_spelling_of_the_download() -> None:
    names = {
        "traceId": "trace_id",
        "startTime": "start_time",
        "endTime": "end_time",
        "modelParameters": "model_parameters",
    }
    row = {names.get(name, name): value for name, value in ROW.items()}
    row |= {"input": json.dumps(ROW["input"]), "output": json.dumps(HELLO), "model_parameters": '{"temperature": 0.5}'}
    assert looks_like(row)
    assert only(row) == only(ROW)


def test_the_observations_of_a_trace() -> None:
    trace = {"id": "trace", "sessionId": "session", "observations": [ROW, {**ROW, "type": "SPAN"}, "obs-7"]}
    assert looks_like(trace)
    call, span, bare = list(read(trace))
    assert isinstance(call, Exchange)
    assert call.session == "session"
    assert isinstance(span, Skip)
    assert isinstance(bare, Skip)
    assert "SPAN" in span.reason


@pytest.mark.parametrize("given", [[USER], "hi", USER, json.dumps([USER])])
def test_ways_to_write_the_input(given: Any) -> None:
    assert only({**ROW, "input": given}).request["messages"] == [USER]


def test_an_error() -> None:
    call = only({**ROW, "level": "ERROR", "output": None, "statusMessage": "too long"})
    assert (call.answer, call.status, call.error) == (None, 500, "too long")


def test_without_input() -> None:
    with pytest.raises(BadInput, match="no messages"):
        list(read({**ROW, "input": None}))
