"""Spans of real frameworks through the started data plane into the store, and what exporters are told otherwise.

Pydantic AI and OpenInference run in processes of their own, and export as they do it for anyone.
"""

import asyncio
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from agent_side import Said
from conformance.plane import Plane, developed, started
from langchain_desk import Json, Scripted, call, results, say
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tutelage.proxy.callers import caller_of
from tutelage.proxy.exchange import Exchange
from tutelage.proxy.otlp import PATH, Refused, found_in, serve
from tutelage.proxy.otlp_wire import JSON, Event, Span
from tutelage.traffic import conversations, feedback_rows, outcomes
from tutelage.traffic.discovery import Discovery
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.journal_reader import JournalReader
from tutelage.traffic.layout import DataDir
from tutelage.traffic.outcome_rules import OutcomeRules
from tutelage.traffic.patterns import Registry
from tutelage.traffic.records import CallRecord
from tutelage.traffic.store import Store

HERE = Path(__file__).parent
SPANS = developed("spans")
with_frameworks = pytest.mark.skipif(
    SPANS is None, reason="Pydantic AI and OpenInference are missing: `make dev` installs them into .dev/spans"
)


class Told(NamedTuple):
    """What a program said about itself, and what the store holds of it."""

    said: Json
    calls: list[Json]
    """Oldest first, with `body` and `answer`."""
    runs: dict[str, Json]
    names: set[str]
    """Of the patterns."""


def weather(body: Json) -> Json:
    """A teacher that asks for the weather of two towns, and then says it."""
    if found := results(body):
        return say(f"It is {' and '.join(found)}.")
    return call(("weather", {"town": "Oslo"}), ("weather", {"town": "Rome"}))


def told(data: Path, program: str, *arguments: str) -> Told:
    """Run a program against a new data plane, and read what it left."""
    teacher, key = Scripted(), "sk-spans"
    teacher.by_key[key] = weather
    with started(data, teacher) as plane:
        values = {"URL": plane.url, "KEY": key, "TEACHER": teacher.url}
        command = [sys.executable, str(HERE / program), *(values.get(one, one) for one in arguments)]
        environment = {**os.environ, "PYTHONPATH": str(SPANS)}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == 0, ran.stderr[-3000:]
        assert "Failed to export" not in ran.stderr
    batch = JournalReader(data / "journal").read({}, 1 << 30)
    with Store(data / "store.duckdb") as store:
        Ingest(store, Discovery(Registry())).apply(feedback_rows.take(store, batch.records), batch.positions)
        feedback_rows.resolve(store, time.time() + 1)
        while outcomes.label_runs(store, OutcomeRules()):
            pass
        caller = caller_of({"authorization": f"Bearer {key}"}, DataDir(data).read_secret())
        calls = store.query("SELECT * FROM calls WHERE caller = ? ORDER BY started_at", [caller])
        for row in calls:
            row["body"] = conversations.request_of(store, row["call_id"])
            row["answer"] = conversations.answer_of(store, row["call_id"])
        runs = {row["trajectory_id"]: row for row in store.query("SELECT * FROM trajectories")}
        names = {row["name"] for row in store.query("SELECT name FROM patterns")}
    return Told(json.loads(ran.stdout.splitlines()[-1]), calls, runs, names)


@pytest.fixture(scope="module")
def pydantic_ai(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return told(tmp_path_factory.mktemp("pydantic"), "spans_pydantic_ai.py", "URL", "KEY", "5")


@pytest.fixture(scope="module")
def openinference(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return told(tmp_path_factory.mktemp("inference"), "spans_openinference.py", "URL", "KEY", "TEACHER")


@with_frameworks
def test_pydantic_ai_s_runs_and_their_parents_are_exact(pydantic_ai: Told) -> None:
    runs = {name: f"x:{run}" for name, run in pydantic_ai.said["runs"].items()}
    turns = [(row["trajectory_id"], row["turn"]) for row in pydantic_ai.calls]
    [nested] = {run for run, _ in turns} - set(runs.values())
    # The direct run, then the one that asks another agent in between, then the one with a schema.
    direct, front = runs["direct"], runs["nested"]
    assert turns == [(direct, 0), (direct, 1), (front, 0), (nested, 0), (nested, 1), (front, 1), (runs["typed"], 0)]
    assert pydantic_ai.runs[nested]["parent_id"] == front
    assert {pydantic_ai.runs[run]["parent_id"] for run in runs.values()} == {None}
    assert len({row["session"] for row in pydantic_ai.calls}) == 4
    assert pydantic_ai.names == {"weather_desk", "front", "typed"}


@with_frameworks
def test_pydantic_ai_s_messages_tools_and_tokens_are_exact(pydantic_ai: Told) -> None:
    first, second, *_, typed = pydantic_ai.calls
    opening = [
        {"role": "system", "content": "You know."},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "How is it?"},
    ]
    assert first["body"]["messages"] == opening
    [tool] = first["body"]["tools"]
    assert (tool["function"]["name"], tool["function"]["description"]) == ("weather", "The weather of a town.")
    assert tool["function"]["parameters"]["required"] == ["town"]
    asked = [(one["id"], one["function"]["name"], json.loads(one["function"]["arguments"])) for one in calls_in(first)]
    assert asked == [("call_Oslo", "weather", {"town": "Oslo"}), ("call_Rome", "weather", {"town": "Rome"})]
    tail = second["body"]["messages"][4:]
    assert [(one["tool_call_id"], one["content"]) for one in tail] == [
        ("call_Oslo", "rain in Oslo"),
        ("call_Rome", "rain in Rome"),
    ]
    assert second["answer"]["content"] == "rain in Oslo and rain in Rome"
    assert min(row["prompt_tokens"] for row in pydantic_ai.calls) > 0
    assert (typed["body"]["tool_choice"], calls_in(typed)[0]["function"]["name"]) == ("required", "final_result")


def calls_in(row: Json) -> list[Json]:
    return row["answer"]["tool_calls"]


@with_frameworks
@pytest.mark.slow
def test_pydantic_ai_s_older_spans_say_the_same(tmp_path: Path, pydantic_ai: Told) -> None:
    older = told(tmp_path, "spans_pydantic_ai.py", "URL", "KEY", "2")
    assert [row["body"] for row in older.calls] == [row["body"] for row in pydantic_ai.calls]
    assert [row["answer"] for row in older.calls] == [row["answer"] for row in pydantic_ai.calls]


@with_frameworks
def test_openinference_s_runs_are_found_by_their_messages(openinference: Told) -> None:
    failed, rest = openinference.calls[-1], openinference.calls[:-1]
    turns = [(row["trajectory_id"], row["turn"]) for row in rest]
    whole, streamed = turns[0][0], turns[2][0]
    assert turns == [(whole, 0), (whole, 1), (streamed, 0), (streamed, 1), ("x:named", 0), ("x:named", 1)]
    assert openinference.names >= {"weather"}
    assert (failed["status"], failed["answer"]) == (502, None)
    assert failed["body"]["messages"] == [{"role": "user", "content": "fail"}]


@with_frameworks
def test_openinference_s_messages_are_exact(openinference: Told) -> None:
    for at, name in ((1, "whole"), (3, "streamed"), (5, "named")):
        row = openinference.calls[at]
        expected = openinference.said[name]
        assert plain([*row["body"]["messages"], row["answer"]]) == plain(expected)
        assert row["body"]["tools"][0]["function"]["name"] == "weather"
        assert json.loads(row["params"])["temperature"] == 0
        assert (row["prompt_tokens"], row["completion_tokens"]) == (11, 3)


def plain(messages: list[Json]) -> list[Json]:
    """Without what the client adds and the canonical form leaves out."""
    dropped = ("content", "parsed_arguments", "index")
    found = [{name: value for name, value in one.items() if value is not None or name != "content"} for one in messages]
    return json.loads(json.dumps(found), object_hook=lambda one: {k: v for k, v in one.items() if k not in dropped[1:]})


def span(span_id: str = "s1", parent: str = "", **attributes: Any) -> Json:
    """A span in OTLP's JSON."""
    pairs = [{"key": name.replace("__", "."), "value": {"stringValue": value}} for name, value in attributes.items()]
    times = {"startTimeUnixNano": "1800000000000000000", "endTimeUnixNano": "1800000001000000000"}
    return {"traceId": "t1", "spanId": span_id, "parentSpanId": parent, "name": "chat m", **times, "attributes": pairs}


def chat(said: str = "hello", **more: Any) -> Json:
    asked = [{"role": "user", "parts": [{"type": "text", "content": said}]}]
    answer = [{"role": "assistant", "parts": [{"type": "text", "content": "hi"}], "finish_reason": "stop"}]
    known = {"gen_ai__input__messages": json.dumps(asked), "gen_ai__output__messages": json.dumps(answer)}
    return span(**{"gen_ai__operation__name": "chat", "gen_ai__request__model": "m", **known, **more})


def export(*spans: Json) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


AS_JSON = ("content-type", "application/json")


def test_json_is_understood_and_sent_again_it_counts_once(plane: Any) -> None:
    body = gzip.compress(export(chat("once"), span("s2", gen_ai__operation__name="execute_tool")))
    replies = [plane.ask(body, AS_JSON, ("content-encoding", "gzip"), path=PATH) for _ in range(2)]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"{}")] * 2
    found = [record for record in plane.records() if b"once" in record.request]
    assert len(found) == 2
    assert len({record.call_id for record in found}) == 1
    assert {record.reason for record in found} == {"recorded:otlp"}
    assert not [record for record in plane.records() if record.endpoint == PATH]


def test_spans_without_messages_are_named_in_either_form(plane: Any) -> None:
    empty = span(gen_ai__operation__name="chat")
    reply = plane.ask(export(chat("kept"), empty), AS_JSON, path=PATH)
    partial = json.loads(reply.body)["partialSuccess"]
    assert (reply.status, partial["rejectedSpans"]) == (200, "1")
    assert "include_content=True" in partial["errorMessage"]
    request = ExportTraceServiceRequest()
    sent = request.resource_spans.add().scope_spans.add().spans.add(name="chat m")
    sent.attributes.add(key="gen_ai.operation.name").value.string_value = "chat"
    reply = plane.ask(request.SerializeToString(), ("content-type", "application/x-protobuf"), path=PATH)
    answer = ExportTraceServiceResponse.FromString(reply.body)
    assert answer.partial_success.rejected_spans == 1
    assert answer.partial_success.error_message == partial["errorMessage"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", [AS_JSON], 400, "bad_spans"),
        (b"\xff\xff", [("content-type", "application/x-protobuf")], 400, "bad_spans"),
        (b"", [("content-type", "text/plain")], 415, "bad_spans"),
        (b"x", [AS_JSON, ("content-encoding", "br")], 415, "bad_encoding"),
    ],
)
def test_mistakes_are_told(plane: Any, body: bytes, headers: list[tuple[str, str]], status: int, code: str) -> None:
    reply = plane.ask(body, *headers, path=PATH)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (status, code)


def made(span_id: str, parent: str = "", failed: bool = False, **attributes: Any) -> Span:
    asked = json.dumps([{"role": "user", "parts": [{"type": "text", "content": span_id}]}])
    known = {"gen_ai.operation.name": "chat", "gen_ai.input.messages": asked}
    known |= {name.replace("__", "."): value for name, value in attributes.items()}
    times: Json = {"start": 1_800_000_000.0, "end": 1_800_000_001.0, "failed": failed}
    events: list[Event] = []
    return Span(trace_id="t", span_id=span_id, parent_id=parent, attributes=known, events=events, **times)


def kinds(spans: list[Span], host: str = "") -> list[str]:
    return [type(one).__name__ for one in found_in(spans, "caller", host)]


def test_a_call_that_two_libraries_tell_of_is_recorded_once() -> None:
    assert kinds([made("inner", "middle"), made("middle", "outer", gen_ai__operation__name="x"), made("outer")]) == [
        "CallRecord"
    ]
    assert kinds([made("a", "b"), made("b", "a")]) == []  # each inside of the other: neither is a call of its own


def test_a_call_through_this_proxy_is_left_to_its_own_record() -> None:
    one = made("a", server__address="127.0.0.1", server__port=8400)
    assert kinds([one], "127.0.0.1:8400") == []
    assert kinds([one], "127.0.0.1:8401") == ["CallRecord"]


def test_a_failed_run_is_feedback_about_it() -> None:
    failed = made("run", failed=True, gen_ai__operation__name="invoke_agent", gen_ai__agent__call__id="run 1")
    [record] = found_in([failed], "caller")
    assert isinstance(record, CallRecord)
    given = json.loads(record.request)
    assert (record.endpoint, given["trajectory"], given["value"]) == ("/v1/feedback", "run 1", False)
    assert kinds([made("run", failed=True, gen_ai__operation__name="invoke_agent")]) == []
    assert [one for one in found_in([made("x", gen_ai__input__messages="[")], "c") if isinstance(one, Refused)]


@pytest.mark.parametrize(("room", "behind"), [(1, False), (9, True)])
def test_what_may_be_lost_is_not_acknowledged(room: int, behind: bool) -> None:
    reply: Any = Said()
    kept: list[bytes] = []

    def append(payload: bytes) -> bool:
        if len(kept) < room:
            kept.append(payload)
            return True
        return False

    named = {"content-type": JSON}
    call = Exchange(reply, append, "POST", PATH, [], named, 10_000)
    asyncio.run(serve(call, export(chat("x"), chat("y")), lambda: behind))
    assert (reply.status, reply.headers["retry-after"]) == (503, "2")


def test_the_switch_holds() -> None:
    reply: Any = Said()
    call = Exchange(reply, lambda _: True, "POST", PATH, [], {"content-type": JSON}, 10_000)
    asyncio.run(serve(call, export(chat()), lambda: False, on=False))
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (403, "intake_off")


@pytest.mark.chaos
def test_what_was_acknowledged_survives_the_death_of_the_worker(tmp_path: Path) -> None:
    def workers() -> Iterator[psutil.Process]:
        for child in psutil.Process().children(recursive=True):
            if "tutelage.proxy.worker" in child.cmdline():
                yield child

    with started(tmp_path) as plane:
        for number in range(40):
            if number % 20 == 10:
                for worker in workers():
                    worker.kill()
            while not _sent(plane, export(chat(f"run {number}."))):
                time.sleep(0.02)  # the connection died with the worker: sent again, as an exporter does
        requests = b"".join(record.request for record in plane.records())
        assert all(f"run {number}.".encode() in requests for number in range(40))


def _sent(plane: Plane, body: bytes) -> bool:
    try:
        return plane.ask(body, AS_JSON, path=PATH).status == 200
    except (OSError, AssertionError):
        return False
