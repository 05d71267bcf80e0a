"""Arguments for LiteLLM and what is made of its answers, with pydantic models as it has them."""

import base64
import json
import re
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from tutelage.plugins import litellm_answers as answers
from tutelage.traffic.errors import BadInput


class Response(BaseModel, extra="allow"):
    """Any answer of LiteLLM: a pydantic model."""


class RateLimitError(Exception):
    status_code, message = 429, "slow down, sk-secret-123456"

    def __init__(self) -> None:
        self.litellm_response_headers = {"llm_provider-retry-after": "3", "set-cookie": "a=b", "request-id": "req_1"}


class Timeout(Exception):
    status_code = 408


class APIConnectionError(Exception):
    status_code, message = 500, "no route\nTraceback (most recent call last):\n  File x"


class Odd(Exception):
    status_code = "many"


def test_only_known_fields_become_arguments() -> None:
    body = {"model": "m", "messages": [], "n": 2, "top_k": 3, "stop": None, "metadata": {"a": 1}, "store": True}
    assert answers.chat_arguments(body) == {"messages": [], "n": 2, "top_k": 3}
    asked = {"model": "m", "input": ["a"], "encoding_format": "base64", "dimensions": 3}
    assert answers.embedding_arguments(asked) == {"input": ["a"], "dimensions": 3}


@given(st.text(min_size=1, max_size=20))
def test_no_other_name_gets_through(name: str) -> None:
    known = answers._CHAT | answers._PROVIDERS_OWN
    if name in known or name in answers._NOT_SENT:
        assert set(answers.chat_arguments({name: "x"})) <= known
        return
    with pytest.raises(BadInput, match=re.escape(repr(name))):
        answers.chat_arguments({name: "x"})


@pytest.mark.parametrize("name", ["api_base", "base_url", "api_key", "extra_headers", "extra_body", "timeout"])
def test_litellms_settings_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match=name):
        answers.chat_arguments({"messages": [], name: "x"})
    with pytest.raises(BadInput, match=name):
        answers.embedding_arguments({"input": "", name: "x"})


def test_a_completion_has_what_openais_has() -> None:
    message = Response.model_validate(
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}], "audio": None}
    )
    made = answers.completion(part(id="i", choices=[part(index=0, message=message)], usage={"total_tokens": 1}))
    assert made["choices"][0]["message"] == {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    assert made["choices"][0]["logprobs"] is None


def part(**fields: Any) -> Response:
    return Response.model_validate(fields)


def test_chunks() -> None:
    text = answers.chunk(part(id="i", model="other", choices=[{"index": 0, "delta": {"content": "a"}}]), "m")
    assert text == {
        "id": "i",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}],
    }
    for choices in ([], [{"index": 0, "delta": {}}], [{"index": 0, "delta": {"content": ""}}]):
        counts = answers.chunk(part(choices=choices, usage={"total_tokens": 3}), "m")
        assert counts == {"model": "m", "choices": [], "usage": {"total_tokens": 3}}
    last = answers.chunk(part(choices=[{"delta": {}, "finish_reason": "stop"}], usage={"total_tokens": 3}), "m")
    assert last is not None
    assert last["choices"][0]["finish_reason"] == "stop"
    assert answers.chunk(part(choices=[]), "m") is None


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=5))
def test_embeddings_in_both_forms(vector: list[float]) -> None:
    made = Response.model_validate({"data": [{"embedding": vector}], "usage": {"prompt_tokens": 1}})
    floats = answers.embeddings(made, {}, "m")
    assert floats["data"] == [{"object": "embedding", "index": 0, "embedding": vector}]
    assert floats["model"] == "m"
    packed = answers.embeddings(made, {"encoding_format": "base64"}, "m")["data"][0]["embedding"]
    assert list(struct.unpack(f"<{len(vector)}f", base64.b64decode(packed))) == vector


def test_errors_of_litellm() -> None:
    failed = answers.failure(RateLimitError(), ["sk-secret-123456"])
    assert (failed.status, failed.code, failed.message) == (429, "rate_limit_exceeded", "slow down, ***")
    assert failed.headers == {"retry-after": "3", "x-request-id": "req_1"}
    error = json.loads(failed.body())["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert failed.frame() == b"data: " + failed.body() + b"\n\n"


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (Timeout("late"), 504, "upstream_timeout", "late"),
        (APIConnectionError(), 502, "upstream_unreachable", "no route"),
        (Odd(), 500, "upstream_error", "Odd"),
        (ValueError("x"), 500, "upstream_error", "x"),
    ],
)
def test_other_errors(error: Exception, status: int, code: str, message: str) -> None:
    failed = answers.failure(error, [])
    assert (failed.status, failed.code, failed.message) == (status, code, message)


def test_headers_that_are_relayed() -> None:
    found = answers.relayed(
        {
            "llm_provider-x-ratelimit-remaining-tokens": 5,
            "Retry-After-Ms": "9",
            "x-a": "b",
            "x-should-retry": "a\r\nb: c",
        }
    )
    assert found == {"x-ratelimit-remaining-tokens": "5", "retry-after-ms": "9"}
    assert answers.relayed(None) == {}


def test_secrets_are_found_by_name() -> None:
    environ = {
        "A_KEY": "0123456789",
        "B_TOKEN": "01234567890123",
        "NAMED": "abcdefghij",
        "PLAIN": "abcdefghijk",
        "C_KEY": "a",
    }
    found = answers.secrets_in(environ, ["NAMED"])
    assert found[0] == "01234567890123"
    assert set(found[1:]) == {"0123456789", "abcdefghij"}
