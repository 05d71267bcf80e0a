"""Event streams: parsing in any pieces, putting together, and cutting into frames."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.canonical import loads, mend
from tutelage.traffic.errors import BadInput
from tutelage.traffic.sse import SSEParser, assemble_chat, frames_of, is_complete

any_text = st.text(st.characters(codec=None), max_size=200).map(mend)


def parse(*pieces: bytes) -> list[bytes]:
    parser = SSEParser()
    return [event for piece in pieces for event in parser.feed(piece)] + parser.finish()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata:b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [b"a", b"b", b"c"]),
        (b": ping\n\nevent: x\nid: 7\ndata: a\nretry: 3\n\n", [b"a"]),
        (b"data: a\ndata\ndata:  b\n\n", [b"a\n\n b"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: a\n\ndata: torn", [b"a", b"torn"]),
        (b"data: a\n", [b"a"]),
        (b"database: a\n\n\n\n", []),
        (b"", []),
    ],
)
def test_events(stream: bytes, events: list[bytes]) -> None:
    assert parse(stream) == events


stream_bytes = st.lists(
    st.sampled_from(
        [b"data: ", b"data", b":", b" ", b"\r", b"\n", b"\r\n", b"\n\n", b"{}", b"\xc3\xa9", b"\xef\xbb\xbf"]
    ),
    max_size=30,
).map(b"".join)


@given(stream_bytes, st.lists(st.integers(0, 80), max_size=12))
def test_chunk_borders_do_not_count(stream: bytes, cuts: list[int]) -> None:
    borders = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:stop] for start, stop in pairwise(borders)]
    assert parse(*pieces) == parse(stream)
    assert parse(*(bytes([byte]) for byte in stream)) == parse(stream)


def test_an_event_is_given_as_soon_as_it_is_complete() -> None:
    parser = SSEParser()
    assert parser.feed(b"data: a\r\n\r") == [b"a"]
    assert parser.feed(b"\ndata: b\r\n") == []
    assert parser.feed(b"\r\n") == [b"b"]
    assert parser.finish() == []


tool_calls = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.uuids().map(lambda name: f"call_{name.hex}"),
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": st.text(min_size=1, max_size=80), "arguments": any_text}),
        }
    ),
    max_size=4,
)
answers = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | any_text},
    optional={"refusal": st.none() | any_text, "tool_calls": tool_calls, "reasoning_content": any_text},
)
logprobs = st.none() | st.just({"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]})


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    reason = st.sampled_from(["stop", "length", "tool_calls"])
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": draw(st.text(min_size=1)),
        "system_fingerprint": draw(st.none() | st.just("fp_1")),
        "choices": [
            {"index": index, "message": message, "finish_reason": draw(reason), "logprobs": draw(logprobs)}
            for index, message in enumerate(draw(st.lists(answers, min_size=1, max_size=3)))
        ],
        "usage": {"prompt_tokens": draw(st.integers(0, 10**6)), "prompt_tokens_details": {"cached_tokens": 0}},
    }


@given(completions())
def test_frames_put_together_are_the_completion(completion: dict[str, Any]) -> None:
    assert assemble_chat(b"".join(frames_of(completion, include_usage=True))) == completion
    assert is_complete(completion)


@given(completions())
def test_without_usage_only_the_usage_is_missing(completion: dict[str, Any]) -> None:
    stream = b"".join(frames_of(completion))
    del completion["usage"]
    assert assemble_chat(stream) == completion
    assert b"usage" not in stream


@given(completions(), st.data())
def test_a_stream_cut_anywhere_gives_what_had_come(completion: dict[str, Any], data: st.DataObject) -> None:
    stream = b"".join(frames_of(completion))
    cut = data.draw(st.integers(stream.index(b"\n\n") + 2, len(stream)))
    partial = assemble_chat(stream[:cut])
    for choice in partial["choices"]:
        whole = completion["choices"][choice["index"]]["message"]
        assert (whole["content"] or "").startswith(choice["message"]["content"] or "")
        assert choice["finish_reason"] in (None, completion["choices"][choice["index"]]["finish_reason"])


def test_frames_have_the_wire_form() -> None:
    completion = {
        "id": "c",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"total_tokens": 3},
    }
    *chunks, done = parse(b"".join(frames_of(completion, include_usage=True)))
    assert done == b"[DONE]"
    values = [json.loads(chunk) for chunk in chunks]
    assert {value["object"] for value in values} == {"chat.completion.chunk"}
    assert [value["usage"] for value in values] == [None, None, None, None, {"total_tokens": 3}]
    assert values[-1]["choices"] == []
    assert [value["choices"][0]["finish_reason"] for value in values[:-1]] == [None, None, None, "tool_calls"]
    first, head, arguments, last = (value["choices"][0]["delta"] for value in values[:-1])
    assert first == {"role": "assistant", "content": None}
    assert head["tool_calls"] == [
        {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    ]
    assert arguments["tool_calls"] == [{"index": 0, "function": {"arguments": '{"a": 1}'}}]
    assert last == {}


def stream_of(*chunks: Any) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"


def delta(**fields: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def call_delta(name: str | None = None, arguments: str = "", **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return delta(tool_calls=[{"function": function, **more}])


def calls_in(*chunks: Any) -> list[tuple[Any, str, str]]:
    calls = assemble_chat(stream_of(*chunks))["choices"][0]["message"]["tool_calls"]
    return [(call.get("id"), call["function"]["name"], call["function"]["arguments"]) for call in calls]


def test_interleaved_calls_are_told_apart_by_index() -> None:
    assert calls_in(
        call_delta("g", index=1, id="2"),
        call_delta("f", index=0, id="1"),
        call_delta(None, '{"b":', index=1),
        call_delta(None, "{}", index=0),
        call_delta(None, "2}", index=1),
    ) == [("1", "f", "{}"), ("2", "g", '{"b":2}')]


def test_calls_without_or_with_the_same_index_are_told_apart_by_id() -> None:
    whole = [("1", "f", "{}"), ("2", "g", "[]")]
    assert calls_in(call_delta("f", "{}", id="1"), call_delta("g", "[", id="2"), call_delta(None, "]")) == whole
    assert calls_in(call_delta("f", "{}", id="1", index=0), call_delta("g", "[]", id="2", index=0)) == whole


def test_calls_without_any_name_of_their_own_are_told_apart_by_whole_arguments() -> None:
    whole = [(None, "f", '{"a":1}'), (None, "f", "{}"), (None, "g", "{}")]
    for place in ({}, {"index": 0}):
        pieces = [("f", '{"a":'), ("f", "1}"), ("f", "{}"), ("f", ""), ("g", "{}"), (None, "")]
        assert calls_in(*(call_delta(name, text, **place) for name, text in pieces)) == whole


def test_a_late_id_and_empty_pieces_change_nothing_else() -> None:
    pieces = [
        call_delta("f", "", index=0),
        call_delta(None, "", index=0),
        call_delta(None, "{", index=0, id="1"),
        call_delta("g", "[]", index=4, id=""),
        call_delta(None, "}", index=0, id="1"),
        call_delta(None, "", index=4, id="2"),
        delta(tool_calls=None),
        delta(tool_calls=[]),
    ]
    assert calls_in(*pieces) == [("1", "f", "{}"), ("2", "g", "[]")]


def test_choices_are_kept_apart() -> None:
    def of_choice(index: int, chunk: dict[str, Any]) -> dict[str, Any]:
        return {**chunk, "choices": [{**chunk["choices"][0], "index": index}]}

    chunks = [
        of_choice(1, call_delta("g", "[", index=0, id="b")),
        of_choice(0, call_delta("f", "{", index=0, id="a", obfuscation="zz")),
        of_choice(1, call_delta(None, "]", index=0)),
        of_choice(0, delta(obfuscation="zzz")),
        of_choice(0, call_delta(None, "}", index=0)),
    ]
    choices = assemble_chat(stream_of(*chunks))["choices"]
    calls = [[call["function"]["arguments"] for call in choice["message"]["tool_calls"]] for choice in choices]
    assert ([choice["index"] for choice in choices], calls) == ([0, 1], [["{}"], ["[]"]])
    assert "obfuscation" not in choices[0]["message"]


fragments = st.lists(st.text(max_size=4), max_size=4)


@given(st.lists(fragments, min_size=1, max_size=4), st.randoms(), st.booleans())
def test_interleaved_pieces_come_together_exactly(calls: list[list[str]], chance: Any, late: bool) -> None:
    queues = [[(number, text) for text in ["", *pieces]] for number, pieces in enumerate(calls)]
    first = [True] * len(calls)
    chunks = []
    while any(queues):
        number, text = chance.choice([queue for queue in queues if queue]).pop(0)
        named = {} if late and first[number] else {"id": f"call_{number}"}
        chunks.append(call_delta("f" if first[number] else None, text, index=number, **named))
        first[number] = False
    chunks += [call_delta(None, "", index=number, id=f"call_{number}") for number in range(len(calls))]
    assert calls_in(*chunks) == [(f"call_{n}", "f", "".join(pieces)) for n, pieces in enumerate(calls)]


def test_a_repeated_id_and_name_count_once() -> None:
    pieces = [call_delta("f", piece, id="1", index=0) for piece in ("{", "}")]
    assert calls_in(*pieces) == [("1", "f", "{}")]


def test_habits_of_servers() -> None:
    completion = assemble_chat(
        stream_of(
            {"id": "", "model": "", "choices": [], "prompt_filter_results": [1], "error": None},
            {**delta(role="assistant", content="", obfuscation="xx"), "model": "m", "obfuscation": "yy"},
            {**delta(role="", content="Hel"), "usage": {"total_tokens": 1}},
            {
                "id": "c",
                "choices": [{"delta": {"content": "lo"}, "finish_reason": "stop"}],
                "usage": {"total_tokens": 2},
            },
        )
    )
    assert completion == {
        "id": "c",
        "object": "chat.completion",
        "model": "m",
        "prompt_filter_results": [1],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
        "usage": {"total_tokens": 2},
    }


def test_a_surrogate_pair_cut_in_two_is_one_character() -> None:
    completion = assemble_chat(stream_of(delta(content="\ud83d"), delta(content="\ude00")))
    assert completion["choices"][0]["message"]["content"] == "\U0001f600"


def test_an_error_in_mid_stream_keeps_what_came_before() -> None:
    error = {"message": "overloaded", "type": "server_error"}
    completion = assemble_chat(stream_of(delta(content="Hal"), {"error": error}))
    assert completion["error"] == error
    assert completion["choices"][0]["message"]["content"] == "Hal"
    assert not is_complete(completion)
    assert assemble_chat(stream_of({"error": error})) == {"error": error}


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"data: [DONE]\n\n",
        b'{"error": {"message": "no"}}',
        b"data: 5\n\n",
        b"data: {}\n\n",
        b'data: {"choices": 5}\n\n',
        b'data: {"choices": [5]}\n\n',
        b'data: {"choices": [{"del\n\ndata: {"choices": []}\n\n',
    ],
)
def test_what_is_no_chat_stream_is_refused(stream: bytes) -> None:
    with pytest.raises(BadInput, match="Expected"):
        assemble_chat(stream)


junk = st.recursive(
    st.none() | st.integers(-2, 2) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["index", "delta", "tool_calls", "function", "id", "name", "arguments", "content", "usage", "role"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.lists(st.fixed_dictionaries({"choices": st.lists(junk, max_size=3) | junk, "usage": junk}), max_size=4))
def test_no_stream_of_chunks_crashes(chunks: list[Any]) -> None:
    try:
        completion = assemble_chat(stream_of(*chunks))
    except BadInput:
        return
    assert isinstance(completion["choices"], list)


def test_text_without_utf8_goes_through_a_frame() -> None:
    completion = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "\ud800"}, "finish_reason": "stop"}]
    }
    frames = list(frames_of(completion))
    assert loads(frames[1].removeprefix(b"data: "))["choices"][0]["delta"]["content"] == "\ud800"


def test_the_openai_client_reads_our_frames() -> None:
    openai = pytest.importorskip("openai")
    httpx = pytest.importorskip("httpx2" if int(openai.__version__.split(".")[0]) >= 3 else "httpx")
    calls = [
        {
            "id": f"call_{name}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps({"x": name * 90})},
        }
        for name in ("f", "g")
    ]
    message = {"role": "assistant", "content": "Grüße " * 40, "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    counts = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    completion = {"id": "c", "created": 1, "model": "m", "choices": [choice], "usage": counts}
    stream = b"".join(frames_of(completion, include_usage=True))

    def answer(request: Any) -> Any:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    http = httpx.Client(transport=httpx.MockTransport(answer))
    with openai.OpenAI(api_key="none", base_url="http://test/v1", http_client=http) as client:
        request = {"model": "m", "messages": [{"role": "user", "content": "?"}]}
        with client.chat.completions.stream(**request) as events:
            final = events.get_final_completion().model_dump()
    got = final["choices"][0]["message"]
    assert got["content"] == message["content"]
    assert [(call["id"], call["function"]["arguments"]) for call in got["tool_calls"]] == [
        (call["id"], call["function"]["arguments"]) for call in calls
    ]
    assert (final["usage"]["total_tokens"], final["choices"][0]["finish_reason"]) == (12, "tool_calls")


@given(completions(), st.booleans())
def test_the_way_a_stream_is_written_does_not_count(completion: dict[str, Any], spaced: bool) -> None:
    stream = b"".join(frames_of(completion, include_usage=True))
    other = stream.replace(b"\n\n", b"\r\n\r\n" if spaced else b"\n\n: ping\n\n")
    assert assemble_chat(other) == assemble_chat(stream) == completion
