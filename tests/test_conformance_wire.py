"""Requests and answers on raw sockets: nothing is changed on the way but what belongs to one connection."""

import gzip
import json
import zlib
from typing import Any

import pytest
from conformance.plane import KEY, Plane, Response, post
from conformance.teacher import LIMITS
from conformance.wire import DROP, chunked, head, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tutelage.traffic.encodings import coding_of, unpacked

ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
OURS = {"x-tutelage-call-id", "x-tutelage-route", "x-tutelage-reason", "x-tutelage-model"}
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def asked(text: str = "hi", **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **fields}).encode()


spaces = st.text(" \t\r\n", max_size=3)
names = st.sampled_from(["seed", "x_unknown", "é", "stop", "metadata", "user", "\\u0041", "seed"])
numbers = st.sampled_from(["0", "-0.0", "1.0", "1E400", "1e-7", "12345678901234567890123", "0.1000"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(lambda t: json.dumps(t, ensure_ascii=False))
escaped = st.sampled_from(['"\\ud83d\\ude00"', '"\\u00e9\\/\\b"', '"\\ud800"', '"a\\u0000b"'])
values = st.recursive(
    numbers | texts | escaped | st.sampled_from(["true", "null"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda found: "[ " + " ,".join(found) + "]")
        | st.lists(st.tuples(names, inner), max_size=3).map(
            lambda found: "{" + ",".join(f'"{name}" :{value}' for name, value in found) + " }"
        )
    ),
    max_leaves=6,
)


@QUICK
@given(st.lists(st.tuples(names, values), max_size=4), spaces, spaces, st.integers(0, 50))
def test_odd_json_arrives_and_comes_back_as_the_same_bytes(
    plane: Plane, members: list[tuple[str, str]], before: str, between: str, size: int
) -> None:
    extra = "".join(f',{between}"{name}"{before}:{value}' for name, value in members)
    body = f'{before}{{"model" : "m","messages":[{{"role":"user","content":"h\\u0069"}}]{extra}}}{between}'.encode()
    answer = before.encode() + b'{"choices": [], "choices":' + between.encode() + b'[ ], "n": 1.0, "x":"\\u00e9"}'
    with plane.wire() as wire:
        wire.send(post(body, ("x-script", plane.teacher.play(whole("200 OK", answer)))), size * 40)
        answered = wire.read()
    assert (answered.status, answered.body) == (200, answer)
    assert plane.teacher.seen[-1].body == body
    record = plane.record(answered.call_id)
    assert (record.request, record.response) == (body, answer)


@QUICK
@given(st.binary(min_size=1, max_size=200), st.integers(1, 9))
def test_any_bytes_of_an_answer_pass_in_any_pieces(plane: Plane, body: bytes, size: int) -> None:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    answered = plane.played(chunked(pieces), asked())
    assert answered.body == body
    assert plane.record(answered.call_id).response == body


def test_the_teacher_gets_the_agents_headers_and_none_of_the_connection(plane: Plane) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = {
        "traceparent": trace,
        "tracestate": "vendor=1",
        "openai-organization": "org",
        "openai-project": "p",
        "openai-beta": "assistants=v2",
        "x-stainless-lang": "python",
        "x-client-request-id": "mine",
        "user-agent": "agent/1 (naïve)".encode().decode("latin-1"),
        "x-empty-not": "a , b",
    }
    dropped = {
        "connection": "keep-alive, x-of-this-hop",
        "x-of-this-hop": "1",
        "keep-alive": "timeout=5",
        "te": "trailers",
        "proxy-authorization": "Basic eA==",
        "proxy-connection": "keep-alive",
        "accept-encoding": "gzip, br",
        "x-tutelage-trajectory": "run-7",
        "x-tutelage-parent": "run-6",
    }
    answered = plane.ask(asked("headers pass"), *sent.items(), *dropped.items())
    seen = plane.teacher.find(b"headers pass")
    got = dict(seen.headers)
    assert {name: got.get(name) for name in sent} == sent
    assert got["authorization"] == f"Bearer {KEY}"
    assert not set(dropped) & set(got) - {"connection", "accept-encoding"}
    assert got.get("connection", "") in ("", "keep-alive")
    assert got["host"] == f"127.0.0.1:{plane.teacher.port}"
    assert plane.record(answered.call_id).trajectory == "run-7"


def test_repeated_request_headers_stay_apart(plane: Plane) -> None:
    body = asked("repeated header")
    head_, _, rest = post(body).partition(b"\r\n\r\n")
    with plane.wire() as wire:
        wire.send(head_ + b"\r\nx-tag: one\r\nX-Tag: two\r\n\r\n" + rest)
        assert wire.read().status == 200
    seen = plane.teacher.find(b"repeated header")
    assert [value for name, value in seen.headers if name == "x-tag"] == ["one", "two"]


def test_the_agent_gets_the_teachers_headers_and_ours(plane: Plane) -> None:
    plain = plane.ask(asked())
    teachers = dict(LIMITS) | {"content-type": "application/json", "x-request-id": f"req_{len(asked())}"}
    expected = teachers | {"content-length": str(len(plain.body))}
    got = dict(plain.headers)
    assert {name: value for name, value in got.items() if name not in OURS} == expected
    assert set(got) & OURS == OURS
    hops = [("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "timeout=5"), ("set-cookie", "a=b"), ("date", "D")]
    other = [("x-odd", "1"), ("x-odd", "2"), ("server", "teacher"), ("retry-after", "7"), ("trailer", "x-checksum")]
    played = plane.played(whole("200 OK", b"{}", *hops, *other), asked())
    names = [name for name, _ in played.headers]
    assert not {"x-hop", "keep-alive", "set-cookie", "trailer"} & set(names)
    assert [value for name, value in played.headers if name == "x-odd"] == ["1", "2"]
    assert (played.get("server"), played.get("retry-after"), played.get("date")) == ("teacher", "7", "D")


@pytest.mark.parametrize(
    "status", [200, 201, 202, 400, 401, 403, 404, 409, 418, 422, 429, 451, 500, 501, 503, 529, 599]
)
def test_status_and_error_body_are_the_teachers(plane: Plane, status: int) -> None:
    body = json.dumps({"error": {"message": f"naïve ☃ {status}", "code": None}}, ensure_ascii=False).encode()
    hints = [("retry-after", "3"), ("retry-after-ms", "2500"), ("x-should-retry", "false"), ("x-request-id", "req_t")]
    answered = plane.played(whole(f"{status} Odd Reason", body, *hints), asked())
    assert (answered.status, answered.body) == (status, body)
    assert [(name, answered.get(name)) for name, _ in hints] == hints
    record = plane.record(answered.call_id)
    assert (record.status, record.response, record.request_id) == (status, body, "req_t")
    assert (record.route, record.error) == ("teacher", "")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_answers_without_a_body(plane: Plane, status: str) -> None:
    with plane.wire() as wire:
        wire.send(post(asked(), ("x-script", plane.teacher.play([head(status, ("x-odd", "1"))]))))
        answered = wire.read()
        assert (answered.status, answered.get("x-odd")) == (int(status[:3]), "1")
        wire.send(post(asked()))
        assert wire.read().status == 200


@pytest.mark.parametrize("form", ["gzip", "deflate"])
def test_compressed_requests_reach_the_teacher_and_the_log_readable(plane: Plane, form: str) -> None:
    body = asked(f"packed {form} " + "long " * 500)
    packed = gzip.compress(body) if form == "gzip" else zlib.compress(body)
    answered = plane.ask(packed, ("content-encoding", form))
    seen = plane.teacher.seen[-1]
    assert answered.status == 200
    assert b"packed" in answered.body
    assert (seen.body, seen.get("content-encoding"), seen.get("content-length")) == (body, "", str(len(body)))
    assert plane.record(answered.call_id).request == body


def test_an_unknown_encoding_is_passed_on_untouched(plane: Plane) -> None:
    script = plane.teacher.play(whole("415 Unsupported Media Type", b"{}"))
    answered = plane.ask(b"\x28\xb5\x2f\xfd odd", ("content-encoding", "zstd"), ("x-script", script))
    assert answered.status == 415
    assert (plane.teacher.seen[-1].body, plane.teacher.seen[-1].get("content-encoding")) == (
        b"\x28\xb5\x2f\xfd odd",
        "zstd",
    )


@pytest.mark.parametrize("form", ["gzip", "deflate"])
@pytest.mark.parametrize("stream", [False, True])
def test_answers_compressed_unasked_are_readable_for_agent_and_log(plane: Plane, form: str, stream: bool) -> None:
    text = b'data: {"choices":[]}\n\ndata: [DONE]\n\n' if stream else b'{"choices":[],"text":"\xe2\x98\x83"}'
    packed = gzip.compress(text) if form == "gzip" else zlib.compress(text)
    label = ("content-encoding", form)
    steps = chunked([packed[:9], packed[9:]], label) if stream else whole("200 OK", packed, label)
    answered = plane.played(steps, asked(stream=stream))
    got = zlib.decompress(answered.body, 47) if answered.get("content-encoding") else answered.body
    assert got == text
    record = plane.record(answered.call_id)
    assert unpacked(record.response, coding_of(record.response, record.response_encoding)) == text


def test_an_answer_that_stops_early_looks_broken(plane: Plane) -> None:
    for steps in (
        [head("200 OK", ("content-length", "100")) + b'{"choices"', 0.05, DROP],
        [head("200 OK", ("transfer-encoding", "chunked")) + b'5\r\n{"cho\r\n', 0.05, DROP],
    ):
        script = plane.teacher.play(steps)
        with plane.wire() as wire:
            wire.send(post(asked("half an answer"), ("x-script", script)))
            broken = _broken(wire.read)
        assert broken
    found = [record for record in plane.records() if b"half an answer" in record.request]
    assert [record.error for record in found] == ["upstream_broken_off"] * 2


def _broken(read: Any) -> bool:
    """Whether the agent can tell: an error of the proxy, or a connection that breaks off."""
    try:
        answered: Response = read()
    except (AssertionError, OSError, IndexError):
        return True
    return answered.status == 502
