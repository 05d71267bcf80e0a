"""What agents do with OpenAI's client, each as a function of a client: run against the teacher itself and the proxy.

A scenario checks what it gets and returns it, so that both results can be compared, too. It runs under the client's
releases 2.x and 3.x; as a program it runs all of them: `python -m conformance.openai_scenarios KEY BASE_URL …`.
"""

import asyncio
import base64
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

OWN = "x-tutelage-"
MODEL = "gpt-conformance"
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(200))).decode()
ERRORS: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
}
Scenario = Callable[[OpenAI], Any]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Add to the list."""
    SCENARIOS[function.__name__] = function
    return function


def user(content: Any) -> Any:
    return [{"role": "user", "content": content}]


def tool(name: str = "look") -> Any:
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def headers_of(response: Any) -> dict[str, str]:
    """What the agent sees of the headers beside those that the proxy adds under its own name."""
    return {name: value for name, value in response.headers.items() if not name.startswith(OWN)}


@scenario
def chat(client: OpenAI) -> Any:
    answer = client.chat.completions.create(model=MODEL, messages=user("Hej ☃"), temperature=0)
    assert (answer.choices[0].message.content or "").startswith("Answer 0 to you: Hej ☃")
    assert answer._request_id
    return [answer.model_dump(), answer._request_id]


@scenario
def chat_async(client: OpenAI) -> Any:
    async def work() -> Any:
        async with AsyncOpenAI(base_url=client.base_url, api_key=client.api_key) as own:
            answers = await asyncio.gather(
                *(own.chat.completions.create(model=MODEL, messages=user(f"call {n}")) for n in range(8))
            )
            stream = await own.chat.completions.create(model=MODEL, messages=user("flow"), stream=True)
            return [answer.model_dump() for answer in answers], [chunk.model_dump() async for chunk in stream]

    answers, chunks = asyncio.run(work())
    assert len({answer["id"] for answer in answers}) == 8
    assert len(chunks) > 3
    return [answers, without_counting(chunks)]


def without_counting(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The chunks without what only a teacher that counts adds, and without names made from the whole request.

    The proxy asks the teacher to count: chunks then hold `usage: null` and another id, which agents cannot tell apart.
    """
    return [{**chunk, "id": "", "usage": chunk.get("usage")} for chunk in chunks]


@scenario
def streaming(client: OpenAI) -> Any:
    chunks = [c.model_dump() for c in client.chat.completions.create(model=MODEL, messages=user("Hej"), stream=True)]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert text.startswith("Answer 0 to you: Hej 你好")
    assert all(chunk["choices"] and chunk["usage"] is None for chunk in chunks)
    return without_counting(chunks)


@scenario
def streaming_with_usage(client: OpenAI) -> Any:
    stream = client.chat.completions.create(
        model=MODEL, messages=user("Hej"), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk.model_dump() for chunk in stream]
    assert [bool(chunk["usage"]) for chunk in chunks].count(True) == 1
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"] > 0) == ([], True)
    return chunks


@scenario
def tools(client: OpenAI) -> Any:
    answer = client.chat.completions.create(model=MODEL, messages=user("Look at 'Oslo' for 3 days"), tools=[tool()])
    message = answer.choices[0].message
    call: Any = (message.tool_calls or [])[0]
    assert json.loads(call.function.arguments) == {"city": "Oslo", "days": 3}
    history = [*user("Look"), message.model_dump(exclude_none=True)]
    history.append({"role": "tool", "tool_call_id": call.id, "content": "rain"})
    last = client.chat.completions.create(model=MODEL, messages=history, tools=[tool()])
    assert "rain" in (last.choices[0].message.content or "")
    return [answer.model_dump(), last.model_dump()]


@scenario
def parallel_tools(client: OpenAI) -> Any:
    asked: Any = {"model": MODEL, "messages": user("Look for each of Oslo, 東京, Rome."), "tools": [tool("a"), tool()]}
    chosen: Any = {**asked, "tool_choice": {"type": "function", "function": {"name": "look"}}, "n": 2}
    answer = client.chat.completions.create(**chosen)
    one = client.chat.completions.create(**asked, parallel_tool_calls=False)
    with client.chat.completions.stream(**chosen) as stream:
        streamed = stream.get_final_completion()
    called = [calls_of(whole) for whole in (answer, one, streamed)]
    assert [len(calls) for calls in called] == [6, 1, 6]
    assert called[0] == called[2]
    assert {name for name, _ in called[0]} == {"look"}
    return [answer.model_dump(), one.model_dump(), called]


def calls_of(completion: Any) -> list[list[str]]:
    """Name and arguments of all tool calls, those of all choices one after the other."""
    calls = [call for choice in completion.choices for call in choice.message.tool_calls or []]
    return [[call.function.name, call.function.arguments] for call in calls]


@scenario
def structured(client: OpenAI) -> Any:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    form: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}
    answer = client.chat.completions.create(model=MODEL, messages=user("'Oslo'"), response_format=form)
    assert json.loads(answer.choices[0].message.content or "") == {"city": "Oslo"}
    return answer.model_dump()


@scenario
def several_choices(client: OpenAI) -> Any:
    answer = client.chat.completions.create(model=MODEL, messages=user("Hej"), n=2, max_tokens=4, stop=["zzz"])
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    return answer.model_dump()


@scenario
def pictures(client: OpenAI) -> Any:
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=user(parts))
    assert "[image_url of 208 bytes] [input_audio of 208 bytes]" in (answer.choices[0].message.content or "")
    return answer.model_dump()


@scenario
def unknown_fields(client: OpenAI) -> Any:
    extra = {"x_custom": {"deep": [1, None, "é"]}, "reasoning": {"effort": "odd"}}
    answer = client.chat.completions.create(
        model=MODEL, messages=user("Hej"), extra_body=extra, extra_headers={"x-mine": "1"}, extra_query={"v": "2"}
    )
    return answer.model_dump()


@scenario
def raw_headers(client: OpenAI) -> Any:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=user("Hej"))
    headers = headers_of(raw)
    assert headers["x-ratelimit-remaining-tokens"] == "149984"
    assert headers["openai-processing-ms"] == "17"
    assert headers["x-request-id"].startswith("req_")
    return [raw.status_code, headers, raw.parse().model_dump()]


@scenario
def streaming_response(client: OpenAI) -> Any:
    create = client.chat.completions.with_streaming_response.create
    with create(model=MODEL, messages=user("Hej")) as response:
        whole = b"".join(response.iter_bytes())
    counted: Any = {"include_usage": True}
    with create(model=MODEL, messages=user("Hej"), stream=True, stream_options=counted) as response:
        lines, headers = list(response.iter_lines()), headers_of(response)
    assert lines[-2:] == ["data: [DONE]", ""]
    return [whole.decode(), lines, headers]


@scenario
def errors(client: OpenAI) -> Any:
    found = []
    plain = client.with_options(max_retries=0)
    for status, kind in ERRORS.items():
        for stream in (False, True):
            with pytest.raises(kind) as raised:
                plain.chat.completions.create(model=MODEL, messages=user(f"fail {status}"), stream=stream)
            error = raised.value
            assert (error.status_code, error.param) == (status, "messages[0]")
            assert "naïve ☃" in error.message
            assert error.request_id
            # The length of a request that asks for counts is another one, and so is the name made from it.
            shown = {**headers_of(error.response), "x-request-id": ""}
            found.append([status, error.code, error.type, error.message, error.body, shown])
    return found


@scenario
def retries(client: OpenAI) -> Any:
    """503 twice, with `retry-after-ms: 20`: the third attempt gets the answer. `x-should-retry: false` is obeyed."""
    create = client.chat.completions.with_raw_response.create
    unavailable = create(model=MODEL, messages=user("fail 503 twice"))
    limited = create(model=MODEL, messages=user("fail 429 twice"))
    assert (unavailable.retries_taken, limited.retries_taken) == (2, 2)
    for status in (429, 503):
        with pytest.raises(ERRORS[status]) as raised:
            create(model=MODEL, messages=user(f"fail {status} stubborn"))
        assert raised.value.response.request.headers["x-stainless-retry-count"] == "0"
    return [unavailable.parse().model_dump(), limited.parse().model_dump()]


@scenario
def timeouts(client: OpenAI) -> Any:
    impatient = client.with_options(timeout=1, max_retries=0)
    for stream in (False, True):
        with pytest.raises(openai.APITimeoutError):
            impatient.chat.completions.create(model=MODEL, messages=user("sleep"), stream=stream)
    return "timed out"


@scenario
def error_in_the_middle(client: OpenAI) -> Any:
    chunks: list[dict[str, Any]] = []
    stream = client.chat.completions.create(model=MODEL, messages=user("break"), stream=True)
    with pytest.raises(openai.APIError) as raised:
        chunks.extend(chunk.model_dump() for chunk in stream)
    assert not isinstance(raised.value, openai.APIStatusError)
    assert raised.value.code == "engine_failed"
    return [without_counting(chunks), raised.value.message, raised.value.body]


@scenario
def left_stream(client: OpenAI) -> Any:
    stream = client.chat.completions.create(model=MODEL, messages=user("Hej"), stream=True)
    first = next(iter(stream)).model_dump()
    stream.close()
    return [without_counting([first]), client.chat.completions.create(model=MODEL, messages=user("next")).model_dump()]


@scenario
def completions(client: OpenAI) -> Any:
    whole = client.completions.create(model=MODEL, prompt="Once")
    chunks = [c.model_dump() for c in client.completions.create(model=MODEL, prompt="Once", stream=True)]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole.choices[0].text
    return [whole.model_dump(), chunks]


@scenario
def embeddings(client: OpenAI) -> Any:
    packed = client.embeddings.create(model=MODEL, input=["a", "☃"])
    plain = client.embeddings.create(model=MODEL, input=["a", "☃"], encoding_format="float")
    assert [row.embedding for row in packed.data] == [row.embedding for row in plain.data]
    return [packed.model_dump(), plain.model_dump()]


@scenario
def responses(client: OpenAI) -> Any:
    whole = client.responses.create(model=MODEL, input="Hej")
    assert whole.output_text.startswith("Answer 0 to you: Hej 你好")
    events = [event.model_dump() for event in client.responses.create(model=MODEL, input="Hej", stream=True)]
    assert events[-1]["type"] == "response.completed"
    look: Any = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
    with client.responses.stream(model=MODEL, input="Oslo", tools=[look]) as stream:
        called = stream.get_final_response()
    assert called.output[0].type == "function_call"
    return [whole.model_dump(), events, called.output[0].model_dump()]


@scenario
def models(client: OpenAI) -> Any:
    listed = client.models.list()
    assert [model.id for model in listed] == [MODEL, "gpt-other"]
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("none")
    return [listed.model_dump(), client.models.retrieve(MODEL).model_dump(), raised.value.code]


def run(base_url: str, key: str) -> dict[str, Any]:
    """The results of all scenarios by name; a text with the trace for one that failed."""
    results: dict[str, Any] = {}
    with OpenAI(base_url=base_url, api_key=key, timeout=30) as client:
        for name, function in SCENARIOS.items():
            try:
                results[name] = function(client)
            except Exception:
                results[name] = {"failed": traceback.format_exc()}
    return results


if __name__ == "__main__":
    key, *urls = sys.argv[1:]
    print(json.dumps({"version": openai.__version__, "results": [run(url, key) for url in urls]}))
