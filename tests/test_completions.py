"""Text completions and embeddings: what they cost and how they ended; texts are kept as bytes, vectors are not."""

import json
from typing import Any

import msgspec
import pytest

from tutelage.traffic.answers import answer_of_record
from tutelage.traffic.completions import assemble_completion, completion_answer, embedding_answer, no_stream
from tutelage.traffic.errors import BadInput
from tutelage.traffic.records import CallRecord, new_call_id

BLANK = CallRecord(call_id=new_call_id(), started_at=1.0, status=200, endpoint="/v1/completions")
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def read(body: Any, **fields: Any) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    record = msgspec.structs.replace(BLANK, response=raw, **fields)
    return answer_of_record(record, completion_answer, assemble_completion)


def frames(*chunks: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"


def chunk(text: str, index: int = 0, finish: str | None = None) -> dict[str, Any]:
    return {"id": "cmpl-1", "model": "m", "choices": [{"text": text, "index": index, "finish_reason": finish}]}


def test_a_plain_completion() -> None:
    found = read({"id": "cmpl-1", "model": "m", "choices": [{"text": "x", "finish_reason": "length"}], "usage": USAGE})
    assert (found.prompt_tokens, found.completion_tokens, found.finish_reason) == (5, 7, "length")
    assert (found.model, found.upstream_id, found.keep_raw, found.error) == ("m", "cmpl-1", True, "")


def test_a_streamed_completion_is_put_together() -> None:
    stream = frames(
        chunk("b", 1),
        chunk("a\ud83d"),
        chunk("\ude00", finish="stop"),
        {"choices": [], "usage": USAGE},
        chunk("c", 1, "stop"),
    )
    assert assemble_completion(stream) == {
        "id": "cmpl-1",
        "model": "m",
        "usage": USAGE,
        "choices": [
            {"text": "a\U0001f600", "index": 0, "finish_reason": "stop"},
            {"text": "bc", "index": 1, "finish_reason": "stop"},
        ],
    }
    found = read(stream, stream=True)
    assert (found.completion_tokens, found.finish_reason, found.error) == (7, "stop", "")
    assert read(frames(chunk("a")), stream=True).error == "incomplete"
    assert read(frames(chunk("a")), stream=True, cancelled=True).error == ""
    assert read(frames(chunk("a"), {"error": {"type": "server_error"}}), stream=True).error == "server_error"


@pytest.mark.parametrize("stream", [b"", b"data: 5\n\n", b'data: {"choices": 5}\n\n', b"data: {oops\n\ndata: {}\n\n"])
def test_what_is_no_stream_of_completions_is_refused(stream: bytes) -> None:
    with pytest.raises(BadInput):
        assemble_completion(stream)


def test_errors_and_empty_answers() -> None:
    assert read({"choices": []}).error == "no_choices"
    assert read({"error": {"code": "bad_model"}}, status=404).error == "bad_model"
    assert read({"choices": []}, status=500).error == "http_500"


def test_embeddings_leave_no_vectors_behind() -> None:
    body = {"object": "list", "model": "e", "data": [{"embedding": [0.5] * 9}], "usage": {"prompt_tokens": 3}}
    record = msgspec.structs.replace(BLANK, response=json.dumps(body).encode())
    found = answer_of_record(record, embedding_answer, no_stream)
    assert (found.model, found.prompt_tokens, found.error, found.keep_raw) == ("e", 3, "", False)
    record = msgspec.structs.replace(BLANK, response=b'{"error": {"code": "too_long"}}', status=400)
    found = answer_of_record(record, embedding_answer, no_stream)
    assert (found.error, found.keep_raw) == ("too_long", True)
    record = msgspec.structs.replace(BLANK, response=b"data: {}\n\n")
    assert answer_of_record(record, embedding_answer, no_stream).error == "unreadable_response"
    assert (
        answer_of_record(msgspec.structs.replace(BLANK, response=b"{}"), embedding_answer, no_stream).error == "no_data"
    )
