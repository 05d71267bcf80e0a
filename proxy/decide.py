"""Teacher or student: the routing decision of one call, as a pure function with a reason.

Capability before policy: what a student cannot do goes to the teacher whatever the route says. Then the big switch,
the pattern, its route, the caller, and last the session's bucket. The first reason that sends a call to the teacher is
the one recorded. No clock, no I/O: the data plane hands in what it knows.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Protocol

import msgspec

from ..traffic.tool_lists import ToolList
from .routes import RouteTable, route_for
from .states import SERVING

MAX_BYTES = 256 * 1024
"""Longer request bodies are more than a small student's context is worth."""
_NEUTRAL_CHOICES = (None, "auto", "none", "required")
_TEXT_PARTS = ("text", "refusal")
_OUTPUT_FIELDS = ("logprobs", "top_logprobs", "logit_bias", "audio", "prediction", "web_search_options")
_OTHER_FIELDS = ("functions", "function_call", "previous_response_id")
_RARE_FIELDS = frozenset(("n", "modalities", "response_format", *_OUTPUT_FIELDS, *_OTHER_FIELDS))
_PLAIN = frozenset((str, type(None)))
_content_of = itemgetter("content")
_OTHER_PARTS = ("image_url", "input_audio", "file", "image", "video_url")


class Decision(msgspec.Struct, frozen=True):
    """Where a call goes and why."""

    route: str
    """`teacher` or `student`."""
    reason: str
    """`cannot:<what>`, `switched_off`, `unknown_pattern`, `no_route`, `state:<state>`, `caller_not_accepted`,
    `teacher_share`; `state:canary` or `state:live` when the student serves."""
    student: str = ""
    """Student version that serves; empty for the teacher."""
    threshold: float | None = None
    """Lowest score of an answer that it may give; None: any."""


class RoutedCall(Protocol):
    """What the decision needs to know of a call; `identify.CallFacts` has it."""

    @property
    def body(self) -> dict[str, Any]: ...
    @property
    def size(self) -> int: ...
    @property
    def session(self) -> str: ...


class KnownPattern(Protocol):
    """What it needs to know of the pattern; `patterns.Match` has it."""

    @property
    def pattern_id(self) -> str: ...


def decide(
    call: RoutedCall,
    match: KnownPattern | None,
    table: RouteTable,
    caller_accepted: Callable[[], bool],
    max_bytes: int = MAX_BYTES,
) -> Decision:
    """The route of one call under this table. `caller_accepted` is asked only where the answer matters."""
    lacking = missing_capability(call.body, call.size, max_bytes)
    if lacking:
        return Decision("teacher", f"cannot:{lacking}")
    if table.off:
        return Decision("teacher", "switched_off")
    if match is None:
        return Decision("teacher", "unknown_pattern")
    route = table.routes.get(match.pattern_id)
    if route is None:
        return Decision("teacher", "no_route")
    if route.state not in SERVING or not route.student:
        return Decision("teacher", f"state:{route.state}")
    if not caller_accepted():
        return Decision("teacher", "caller_not_accepted")
    taken = route_for(route, call.session)
    if taken is None:
        return Decision("teacher", "teacher_share")
    return Decision("student", f"state:{taken.state}", taken.student, taken.threshold)


def missing_capability(body: dict[str, Any], size: int, max_bytes: int = MAX_BYTES) -> str:
    """What this request asks for that no student here can do; empty when there is nothing."""
    if size > max_bytes:
        return "long_body"
    # Most requests have none of the fields that matter here; one look tells.
    odd = "" if _RARE_FIELDS.isdisjoint(body) else _odd_output(body) or _odd_fields(body)
    return odd or _odd_tools(body) or _odd_input(body)


def _odd_output(body: dict[str, Any]) -> str:
    if body.get("n") not in (None, 1):
        return "n"
    for field in _OUTPUT_FIELDS:
        if body.get(field):
            return field
    if body.get("modalities") not in (None, [], ["text"]):
        return "modalities"
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else wanted
    if kind == "json_schema" and isinstance(wanted, dict):
        return "" if isinstance(wanted.get("json_schema"), dict) else "response_format"
    return "" if kind in (None, "text") or wanted == {"type": "json_object"} else "response_format"


def _odd_fields(body: dict[str, Any]) -> str:
    for field in _OTHER_FIELDS:
        if body.get(field):
            return field
    return ""


def _odd_tools(body: dict[str, Any]) -> str:
    tools = body.get("tools") or ()
    if not isinstance(tools, list | tuple):
        return "tools"
    if not _functions_only(tools):
        return "tools"
    choice = body.get("tool_choice")
    if choice is None:
        return ""
    named = isinstance(choice, dict) and choice.get("type") == "function"
    return "" if named or (not isinstance(choice, dict) and choice in _NEUTRAL_CHOICES) else "tool_choice"


def _functions_only(tools: list[Any] | tuple[Any, ...]) -> bool:
    if not isinstance(tools, ToolList):
        return all(map(_is_function, tools))
    known = tools.known.get("functions_only")
    if known is None:
        known = tools.known["functions_only"] = all(map(_is_function, tools))
    return known


def _is_function(tool: Any) -> bool:
    return (
        isinstance(tool, dict) and tool.get("type", "function") == "function" and isinstance(tool.get("function"), dict)
    )


def _odd_input(body: dict[str, Any]) -> str:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages"
    return "" if _only_text(messages) else _odd_message(messages)


def _only_text(messages: list[Any]) -> bool:
    """Whether there is nothing to look at more closely, as in most requests: their messages are texts."""
    try:
        return _PLAIN.issuperset(map(type, map(_content_of, messages))) and "audio" not in set().union(*messages)
    except (KeyError, TypeError):
        return False


def _odd_message(messages: list[Any]) -> str:
    for message in messages:
        if not isinstance(message, dict):
            return "messages"
        content = message.get("content")
        odd = "audio" if message.get("audio") else _odd_part(content) if isinstance(content, list) else ""
        if odd:
            return odd
    return ""


def _odd_part(content: list[Any]) -> str:
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _TEXT_PARTS:
            return kind if kind in _OTHER_PARTS else "content_part"
    return ""
