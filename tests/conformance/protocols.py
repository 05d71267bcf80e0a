"""The teacher's words in the form of each protocol, whole or as event streams."""

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

from conformance.mind import completion, said_last

Json = dict[str, Any]
DONE = b"data: [DONE]\n\n"


def frame(value: Any, event: str = "") -> bytes:
    """One event."""
    named = f"event: {event}\n" if event else ""
    return f"{named}data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def pieces(text: str, size: int = 5) -> list[str]:
    """The text in parts of `size` characters."""
    return [text[at : at + size] for at in range(0, len(text), size)]


def chat_frames(body: Json) -> list[bytes]:
    """The stream that answers a chat request, choices in turns, with obfuscation unless it is declined."""
    whole = completion(body)
    options = body.get("stream_options") or {}
    base = {key: whole[key] for key in ("id", "created", "model", "service_tier", "system_fingerprint")}
    base["object"] = "chat.completion.chunk"
    if options.get("include_usage"):
        base["usage"] = None
    deltas = [list(_choice_deltas(choice)) for choice in whole["choices"]]
    frames = []
    for turn in range(max(map(len, deltas))):
        for choice in deltas:
            if turn < len(choice):
                chunk = {**base, "choices": [choice[turn]]}
                if options.get("include_obfuscation", True):
                    chunk["obfuscation"] = "x" * (turn % 7)
                frames.append(frame(chunk))
    if options.get("include_usage"):
        frames.append(frame({**base, "choices": [], "usage": whole["usage"]}))
    return [*frames, DONE]


def _choice_deltas(choice: Json) -> Iterator[Json]:
    message, index = choice["message"], choice["index"]
    rest = {"index": index, "logprobs": None, "finish_reason": None}
    yield {**rest, "delta": {"role": "assistant", "content": "" if message["content"] else None, "refusal": None}}
    for piece in pieces(message["content"] or ""):
        yield {**rest, "delta": {"content": piece}}
    for at, call in enumerate(message.get("tool_calls", [])):
        function = {"name": call["function"]["name"], "arguments": ""}
        yield {**rest, "delta": {"tool_calls": [{"index": at, **call, "function": function}]}}
    # Fragments of parallel calls come in turns: whoever joins them must go by their index.
    fragments = [pieces(call["function"]["arguments"]) for call in message.get("tool_calls", [])]
    for turn in range(max(map(len, fragments), default=0)):
        for at, parts in enumerate(fragments):
            if turn < len(parts):
                yield {**rest, "delta": {"tool_calls": [{"index": at, "function": {"arguments": parts[turn]}}]}}
    yield {**rest, "delta": {}, "finish_reason": choice["finish_reason"]}


def text_completion(body: Json, text: str | None = None, finish: str | None = "stop") -> Json:
    """The answer of `/v1/completions`."""
    said = f"{body['prompt']} … and so on. ☃" if text is None else text
    choice = {"text": said, "index": 0, "logprobs": None, "finish_reason": finish}
    counts = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    fixed = {"id": "cmpl-1", "object": "text_completion", "created": 1_700_000_000, "model": body["model"]}
    return {**fixed, "choices": [choice], "usage": counts if finish else None}


def completion_frames(body: Json) -> list[bytes]:
    """The stream of `/v1/completions`."""
    said = text_completion(body)["choices"][0]["text"]
    frames = [frame(text_completion(body, piece, None)) for piece in pieces(said)]
    return [*frames, frame(text_completion(body, "", "stop")), DONE]


def embeddings(body: Json) -> Json:
    """The answer of `/v1/embeddings`, as numbers or in base64."""
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [
        {"object": "embedding", "index": at, "embedding": _vector(text, body.get("encoding_format", "float"))}
        for at, text in enumerate(inputs)
    ]
    return {
        "object": "list",
        "data": data,
        "model": body["model"],
        "usage": {"prompt_tokens": len(inputs), "total_tokens": len(inputs)},
    }


def _vector(text: str, form: str) -> Any:
    numbers = [byte / 256 for byte in text.encode()[:4].ljust(4)]
    return base64.b64encode(struct.pack("<4f", *numbers)).decode() if form == "base64" else numbers


def models(*names: str) -> Json:
    """The list of models."""
    data = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "conformance"} for name in names]
    return {"object": "list", "data": data}


def response(body: Json) -> Json:
    """The answer of `/v1/responses`: what the same request says as a chat, in the other words."""
    whole = completion(_as_chat(body))
    said = whole["choices"][0]["message"]
    items: list[Json] = [
        {"type": "function_call", "id": f"fc_{at}", "call_id": call["id"], "status": "completed", **call["function"]}
        for at, call in enumerate(said.get("tool_calls", []))
    ]
    if said["content"] is not None:
        part = {"type": "output_text", "text": said["content"], "annotations": []}
        items.append({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": [part]})
    tokens = whole["usage"]
    counts = {"input_tokens": tokens["prompt_tokens"], "output_tokens": tokens["completion_tokens"]}
    counts |= {"total_tokens": tokens["total_tokens"], "input_tokens_details": {"cached_tokens": 0}}
    counts["output_tokens_details"] = {"reasoning_tokens": 0}
    fixed = {"id": "resp_1", "object": "response", "created_at": 1_700_000_000, "error": None, "metadata": {}}
    fixed |= {"incomplete_details": None, "instructions": None, "parallel_tool_calls": True, "tool_choice": "auto"}
    fixed |= {"model": body["model"], "tools": [], "text": body.get("text") or {"format": {"type": "text"}}}
    return {**fixed, "status": "completed", "output": items, "usage": counts}


_KINDS = {"input_text": "text", "output_text": "text", "input_image": "image_url", "input_file": "file"}


def _as_chat(body: Json) -> Json:
    """The request of `/v1/responses` as a chat request."""
    given = body["input"]
    chat: Json = {"model": body["model"], "messages": [{"role": "user", "content": given}]}
    if isinstance(given, list):
        chat["messages"] = [_as_message(item) for item in given if item.get("type") != "reasoning"]
    if body.get("tools"):
        chat["tools"] = [{"type": "function", "function": tool} for tool in body["tools"]]
    choice = body.get("tool_choice", "auto")
    chat["tool_choice"] = {"function": {"name": choice["name"]}} if isinstance(choice, dict) else choice
    form = (body.get("text") or {}).get("format") or {}
    chat["response_format"] = {"type": form.get("type"), "json_schema": form}
    return chat


def _as_message(item: Json) -> Json:
    if item.get("type") == "function_call_output":
        return {"role": "tool", "content": item["output"]}
    if item.get("type") == "function_call":
        return {"role": "assistant", "content": item["arguments"]}
    content = item["content"]
    return {"role": item["role"], "content": content if isinstance(content, str) else [_as_part(p) for p in content]}


def _as_part(part: Json) -> Json:
    kind = _KINDS.get(part["type"]) or str(part["type"])
    inner: Json = {"text": part.get("text"), "image_url": {"url": part.get("image_url")}, "file": part}
    return {"type": kind, kind: inner.get(kind, part.get(kind))}


def response_frames(body: Json) -> list[bytes]:
    """The stream of `/v1/responses`: no `[DONE]`."""
    whole = response(body)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    events: list[Json] = [{"type": "response.created", "response": begun}]
    for at, item in enumerate(whole["output"]):
        events += _item_events(item, {"item_id": item["id"], "output_index": at})
    events.append({"type": "response.completed", "response": whole})
    return [frame({**event, "sequence_number": number}, event["type"]) for number, event in enumerate(events)]


def _item_events(item: Json, at: Json) -> Iterator[Json]:
    added, done = {"type": "response.output_item.added"}, {"type": "response.output_item.done"}
    place = {"output_index": at["output_index"]}
    if item["type"] == "function_call":
        kind, text = "response.function_call_arguments", item["arguments"]
        yield {**added, **place, "item": {**item, "arguments": "", "status": "in_progress"}}
        yield from ({"type": f"{kind}.delta", **at, "delta": piece} for piece in pieces(text))
        yield {"type": f"{kind}.done", **at, "arguments": text, "name": item["name"]}
    else:
        part, at = item["content"][0], {**at, "content_index": 0}
        text = part["text"]
        yield {**added, **place, "item": {**item, "content": [], "status": "in_progress"}}
        yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
        yield from (
            {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []} for piece in pieces(text)
        )
        yield {"type": "response.output_text.done", **at, "text": text, "logprobs": []}
        yield {"type": "response.content_part.done", **at, "part": part}
    yield {**done, **place, "item": item}


def message(body: Json) -> Json:
    """The answer of Anthropic's `/v1/messages`."""
    content = [{"type": "text", "text": f"You said: {said_last(body['messages'])} ☃"}]
    fixed = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": content}
    return {**fixed, "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 5, "output_tokens": 6}}


def message_frames(body: Json) -> list[bytes]:
    """The stream of `/v1/messages`, with a ping."""
    whole = message(body)
    text = whole["content"][0]["text"]
    begun = {**whole, "content": [], "stop_reason": None}
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    events: list[Json] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
    ]
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces(text)]
    events += [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
    events += [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 6}},
        {"type": "message_stop"},
    ]
    return [frame(event, event["type"]) for event in events]
