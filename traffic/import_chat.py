"""Plain chats, one JSON object a line: conversations as for fine-tuning, or pairs of a request and its response.

    {"messages": [{"role": "user", ...}, {"role": "assistant", ...}, ...], "tools": [...]}
    {"request": {"model": ..., "messages": [...]}, "response": {"choices": [...]}, "started_at": 1800000000}

A conversation gives a call for each of its assistant messages, asked with all that stands before it.
"""

from .answers import as_object
from .imported import Exchange, Message, Reading, Skip, answer_of, moment, request_of, text, tidy, unpacked

_TIMES = ("started_at", "created_at", "created", "timestamp", "time")
_ASKED = ("model", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format")
_ASKED += ("temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "reasoning_effort")
"""Members of a line that belong to the request; others are whatever people noted beside it."""


def looks_like(row: Message) -> bool:
    """Whether a row has this form."""
    return "messages" in row or ("request" in row and "response" in row)


def read(row: Message) -> Reading:
    """The calls of one line. Raises BadInput when it has no messages."""
    at, key = next((moment(row[name]) for name in _TIMES if name in row), 0.0), text(row.get("id"))
    if "request" in row:
        yield _pair(as_object(unpacked(row["request"])), row.get("response"), at, key)
        return
    request = request_of(row.get("messages"), **{name: row[name] for name in _ASKED if name in row})
    if row.get("response"):
        yield _pair(request, row["response"], at, key)
        return
    messages, turns = request["messages"], 0
    for place, message in enumerate(messages):
        # An assistant message at the very beginning answers nothing.
        if message["role"] == "assistant" and place:
            asked = {**request, "messages": messages[:place]}
            # Turns of one conversation begin a second apart, or they would have no order.
            yield Exchange(asked, tidy(message), f"{key}/{turns}" if key else "", at + turns if at else 0.0)
            turns += 1
    if not turns:
        yield Skip("a conversation without an assistant's answer")


def _pair(request: Message, response: object, at: float, key: str) -> Exchange:
    body = as_object(unpacked(response))
    answer, choices = answer_of(response), body.get("choices")
    choice = as_object(choices[0]) if isinstance(choices, list) and choices else {}
    fields = {name: value for name, value in request.items() if name != "messages"}
    return Exchange(
        request_of(request.get("messages"), **fields),
        answer,
        key=key,
        at=at or moment(body.get("created")),
        finish_reason=text(choice.get("finish_reason")),
        model=text(body.get("model")) or text(request.get("model")),
        usage=as_object(body.get("usage")),
        upstream_id=text(body.get("id")),
        status=200 if answer else 500,
        error=text(as_object(body.get("error")).get("message")),
    )
