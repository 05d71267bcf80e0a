"""What the teacher of the conformance tests says: a pure function of the request, so that it can be asked twice.

It obeys as a real provider would: tools by their schema and `tool_choice`, structured output by its schema, `n`, `stop`
and `max_tokens`; it looks at pictures and files by their kind and size.
"""

import base64
import json
import re
from hashlib import blake2b
from typing import Any

Json = dict[str, Any]
_EACH = re.compile(r"for each of ([^.?!]+)")
_QUOTED = re.compile(r"'([^']+)'")
_NUMBER = re.compile(r"-?\d+")


def completion(body: Json) -> Json:
    """The `chat.completion` that answers a chat request."""
    name = blake2b(json.dumps(body, sort_keys=True).encode(), digest_size=8).hexdigest()
    choices = [_choice(body, index, name) for index in range(body.get("n") or 1)]
    said = sum(len(json.dumps(choice["message"])) // 4 for choice in choices)
    asked = len(json.dumps(body["messages"])) // 4
    return {
        "id": f"chatcmpl-{name}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": body["model"],
        "choices": choices,
        "usage": usage(asked, said),
        "service_tier": "default",
        "system_fingerprint": "fp_conformance",
    }


def usage(asked: int, said: int) -> Json:
    """Token counts in OpenAI's form."""
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": {"cached_tokens": asked // 2, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _choice(body: Json, index: int, name: str) -> Json:
    text = said_last(body["messages"])
    calls = _calls(body, text, f"{name}{index}")
    message: Json = {"role": "assistant", "content": None, "refusal": None}
    if calls:
        message["tool_calls"] = calls
        finish = "tool_calls"
    else:
        message["content"], finish = _cut(_words(body, text, index), body)
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish}


def said_last(messages: list[Json]) -> str:
    """The text of the last user message; parts that are no text are named by kind and size."""
    users = [message for message in messages if message["role"] == "user"]
    content = users[-1]["content"] if users else ""
    return content if isinstance(content, str) else " ".join(_part(part) for part in content)


def _part(part: Json) -> str:
    kind = part["type"]
    if kind == "text":
        return part["text"]
    inner = part[kind]
    data = inner.get("data") or inner.get("file_data") or inner.get("url") or ""
    packed = data.rpartition("base64,")[2]
    if data.startswith(("http://", "https://")):
        return f"[{kind} at {data}]"
    return f"[{kind} of {len(base64.b64decode(packed, validate=True))} bytes]"


def _calls(body: Json, text: str, name: str) -> list[Json]:
    """The tool calls of one choice; none when text is wanted."""
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools") or []}
    choice = body.get("tool_choice", "auto")
    forced = choice == "required" or isinstance(choice, dict)
    if not tools or choice == "none" or not (forced or body["messages"][-1]["role"] == "user"):
        return []
    function = tools[choice["function"]["name"]] if isinstance(choice, dict) else next(iter(tools.values()))
    found = _EACH.search(text)
    subjects = [part.strip() for part in found.group(1).split(",")] if found else [text]
    if body.get("parallel_tool_calls") is False:
        subjects = subjects[:1]
    schema = function.get("parameters") or {}
    return [
        {
            "id": f"call_{name}_{at}",
            "type": "function",
            "function": {
                "name": function["name"],
                "arguments": json.dumps(value_for(schema, subject, "", schema), ensure_ascii=False),
            },
        }
        for at, subject in enumerate(subjects)
    ]


def _words(body: Json, text: str, index: int) -> str:
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema = wanted["json_schema"]["schema"]
        return json.dumps(value_for(schema, text, "", schema), ensure_ascii=False)
    if wanted.get("type") == "json_object":
        return json.dumps({key: f"{key} as asked" for key in _QUOTED.findall(text)}, ensure_ascii=False)
    results = [message["content"] for message in body["messages"] if message["role"] == "tool"]
    told = f" The tools gave {json.dumps(results, ensure_ascii=False)}." if results else ""
    return f"Answer {index} to you: {text}{told} 你好, naïve ☃ and 🎈."


def _cut(text: str, body: Json) -> tuple[str, str]:
    stops = body.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.partition(stop)[0]
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    words = text.split(" ")
    return (" ".join(words[:limit]), "length") if limit and len(words) > limit else (text, "stop")


def value_for(schema: Json, text: str, name: str, root: Json) -> Any:
    """A value that fits a JSON schema, taken from `text` where it holds one."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return value_for(next(s for s in schema["anyOf"] if s.get("type") != "null"), text, name, root)
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        return {key: value_for(inner, text, key, root) for key, inner in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [value_for(schema.get("items") or {}, text, name, root)]
    number = _NUMBER.search(text)
    if kind in ("integer", "number"):
        return int(number.group()) if number else 1
    if kind == "boolean":
        return True
    quoted = _QUOTED.search(text)
    return quoted.group(1) if quoted else f"{name} of {text}"
