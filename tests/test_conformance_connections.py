"""Connections to the started data plane: pipelining, uploads of every form, old clients, and agents that leave."""

import json
import socket
import struct
import time
from typing import Any

import pytest
from conformance.mind import completion
from conformance.plane import Plane, Wire, post
from conformance.wire import chunked, whole


def asked(text: str, **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **fields}).encode()


def in_chunks(body: bytes, size: int, extension: bytes = b"") -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%X%b\r\n%b\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n\r\n"


def answers(body: bytes) -> bytes:
    return json.dumps(completion(json.loads(body)), ensure_ascii=False).encode()


def test_pipelined_calls_are_answered_in_order(plane: Plane) -> None:
    bodies = [asked(f"pipelined {n}", stream=n == 1) for n in range(5)]
    with plane.wire() as wire:
        wire.send(b"".join(post(body) for body in bodies))
        found = [wire.read() for _ in bodies]
        assert [found[n].body for n in (0, 2, 3, 4)] == [answers(bodies[n]) for n in (0, 2, 3, 4)]
        assert found[1].body.endswith(b"data: [DONE]\n\n")
    assert [plane.record(answer.call_id).request for answer in found] == bodies


def test_requests_in_single_bytes(plane: Plane) -> None:
    body = asked("byte by byte ☃")
    with plane.wire() as wire:
        wire.send(post(body) + post(body), 1)
        assert [wire.read().body, wire.read().body] == [answers(body)] * 2


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunked_uploads(plane: Plane, size: int) -> None:
    body = asked(f"chunked {size} ☃")
    start = post(b"", ("transfer-encoding", "chunked"), ("content-length", ""))
    with plane.wire() as wire:
        wire.send(start + in_chunks(body, size, b";name=value") + post(body))
        assert [wire.read().body, wire.read().body] == [answers(body)] * 2
    assert plane.teacher.find(body).get("content-length") == str(len(body))


def test_expect_100_continue(plane: Plane) -> None:
    body = asked("may I send")
    head, _, rest = post(body, ("expect", "100-continue")).partition(b"\r\n\r\n")
    with plane.wire() as wire:
        wire.send(head + b"\r\n\r\n")
        assert wire.line() == b"HTTP/1.1 100 Continue\r\n"
        assert wire.line() == b"\r\n"
        wire.send(rest)
        assert wire.read().body == answers(body)
    assert plane.teacher.find(body).get("expect") == ""


def test_connection_close_is_obeyed_and_keep_alive_kept(plane: Plane) -> None:
    body = asked("closing")
    with plane.wire() as wire:
        wire.send(post(body))
        assert wire.read().get("connection") != "close"
        wire.send(post(body, ("connection", "close")))
        last = wire.read()
        assert (last.body, last.get("connection")) == (answers(body), "close")
        assert wire.at_end()


def test_the_teachers_wish_to_close_is_not_the_agents_matter(plane: Plane) -> None:
    script = plane.teacher.play(whole("200 OK", b"{}", ("connection", "close")))
    with plane.wire() as wire:
        for _ in range(3):
            wire.send(post(asked("teacher closes"), ("x-script", script)))
            answered = wire.read()
            assert (answered.status, answered.get("connection")) == (200, "")


@pytest.mark.parametrize("keep", ["", "keep-alive"])
def test_http_1_0(plane: Plane, keep: str) -> None:
    body = asked("http 1.0")
    request = post(body, ("connection", keep)).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    with plane.wire() as wire:
        wire.send(request)
        answered = wire.read()
        assert answered.body == answers(body)
        if keep:
            wire.send(request)
            assert wire.read().body == answers(body)
        else:
            assert wire.at_end()


def test_odd_but_legal_heads(plane: Plane) -> None:
    body = asked("odd head")
    head = b"POST /v1/chat/completions?api-version=1 HTTP/1.1\r\nHOST:x\r\ncOnTeNt-LeNgTh:   %d   \r\n\r\n" % len(body)
    with plane.wire() as wire:
        wire.send(b"\r\n" + head + body)
        assert wire.read().status == 200
    assert plane.teacher.find(b"odd head").get("content-length") == str(len(body))


def test_connections_to_the_teacher_are_reused(plane: Plane) -> None:
    before = len(plane.teacher.seen)
    for number in range(20):
        assert plane.ask(asked(f"reuse {number}")).status == 200
    assert len({seen.connection for seen in plane.teacher.seen[before:]}) <= 2


def leave(wire: Wire, how: str) -> None:
    """Make closing the connection send a reset, or a plain end."""
    if how == "reset":
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_agent_that_leaves_stops_the_teacher_and_is_logged(plane: Plane, stream: bool, how: str) -> None:
    text = f"leaving {how} {stream}"
    frames = [b'data: {"choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'] * 300
    steps = chunked(frames, pause_s=0.1) if stream else [30.0, *whole("200 OK", b"{}")]
    body = asked(text, stream=stream)
    with plane.wire() as wire:
        wire.send(post(body, ("x-script", plane.teacher.play(steps))))
        seen = plane.teacher.find(text.encode())
        if stream:
            assert wire.line() == b"HTTP/1.1 200 OK\r\n"
        leave(wire, how)
    left = time.monotonic()
    assert seen.hung_up.wait(5)
    record = plane.record(lambda record: text.encode() in record.request)
    assert time.monotonic() - left < 5
    assert (record.cancelled, record.stream, record.request) == (True, stream, body)
    assert record.status == (200 if stream else 0)


def test_an_agent_that_leaves_before_its_request_is_whole_is_no_call(plane: Plane) -> None:
    before, seen = len(plane.records()), len(plane.teacher.seen)
    with plane.wire() as wire:
        wire.send(post(asked("never whole"))[:-5])
    assert plane.ask(asked("after it")).status == 200
    time.sleep(0.2)
    assert len(plane.teacher.seen) == seen + 1
    assert len(plane.records()) == before + 1


def test_an_agent_that_leaves_disturbs_nobody_else(plane: Plane) -> None:
    frames = [b'data: {"choices":[{"index":0,"delta":{"content":"w"}}]}\n\n'] * 20
    script = ("x-script", plane.teacher.play(chunked([*frames, b"data: [DONE]\n\n"], pause_s=0.02)))
    body = asked("staying", stream=True)
    with plane.wire() as staying:
        staying.send(post(body, script))
        for _ in range(5):
            with plane.wire() as leaving:
                leaving.send(post(body, script))
                leaving.line()
        assert staying.read().body == b"".join(frames) + b"data: [DONE]\n\n"
