"""From OpenAI messages to the student's prompt, and from the student's text back to an OpenAI message.

One rendering for training and for serving. A conversation becomes a list of segments, and each segment is tokenised
on its own; therefore the ids of a prompt are always a prefix of the ids of the same conversation with its answer, and
what the student reads while serving is exactly what it read while training. `docs/rendering.md` shows the form.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..traffic import record_lists
from ..traffic.actions import action_of, parameters, validate_action
from ..traffic.errors import BadInput
from ..traffic.schema import fitted
from ..traffic.skeleton import Part, Skeleton, system_text, written_part
from ..traffic.students import PromptSpec

Message = dict[str, Any]

RENDER_VERSION = 2
"""Goes into PromptSpec.version; raised whenever the same messages and settings would give other ids."""
_KNOWN_VERSIONS = (1, RENDER_VERSION)

TURN_END = "<|im_end|>"
CALL_OPEN, CALL_CLOSE = "<tool_call>", "</tool_call>"
_ASSISTANT_HEADER = "<|im_start|>assistant\n"
_CONTROL = re.compile(r"<\|(im_start|im_end|endoftext)\|>")
_CALL_TAG = re.compile(r"<(/?tool_call)>")


@dataclass(frozen=True)
class Segment:
    """A piece of text that is tokenised by itself."""

    text: str
    trained: bool = False
    """Whether the student learns to write it: the body of an assistant turn with its end mark."""


class InvalidOutput(Exception):
    """The student's text is not a valid action."""

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        """A code: `empty`, `unclosed`, `text_after_call`, `unknown_tool`, `bad_json`, `schema:PATH`, `length`."""
        self.text = text
        """What the student wrote, where the caller knows it."""


def segments(messages: Sequence[Message], tools: Sequence[Message], spec: PromptSpec) -> list[Segment]:
    """The whole conversation. Raises BadInput for content that a text model cannot read."""
    if spec.version not in _KNOWN_VERSIONS:
        raise BadInput(
            f"This program renders prompts up to version {RENDER_VERSION}, the student needs {spec.version}: "
            "it was made by a newer one."
        )
    head = _system_turn(messages, tools, spec)
    found = [Segment(head)] if head else []
    rest = messages[_leading_system(messages) :]
    position = 0
    while position < len(rest):
        role = rest[position].get("role")
        if role == "assistant":
            body = render_action(rest[position], tools) + TURN_END
            found += [Segment(_ASSISTANT_HEADER), Segment(body, trained=True), Segment("\n")]
            position += 1
        elif role in ("tool", "function"):
            end = _end_of_results(rest, position)
            found.append(Segment(_turn("user", _tool_results(rest[position:end]))))
            position = end
        else:
            text = _plain(rest[position].get("content"))
            found.append(Segment(_turn("system" if role in ("system", "developer") else "user", _inert(text))))
            position += 1
    return found


def prompt_segments(messages: Sequence[Message], tools: Sequence[Message], spec: PromptSpec) -> list[Segment]:
    """What the student reads before it answers: the conversation and the header of its own turn."""
    return [*segments(messages, tools, spec), Segment(_ASSISTANT_HEADER)]


def token_ids(parts: Iterable[Segment], tokenise: Callable[[str], list[int]]) -> list[int]:
    """Ids of all segments in a row. `tokenise` adds no special tokens and parses those in the text."""
    return [token for part in parts for token in tokenise(part.text)]


def render_action(message: Message, tools: Sequence[Message] = ()) -> str:
    """Body of an assistant turn: its text, then one block per tool call, arguments in the order of the schema."""
    schemas = parameters(list(tools))
    text = _CALL_TAG.sub(r"< \1>", _inert(_plain(message.get("content")) or message.get("refusal") or "")).strip()
    blocks = [_call_block(call, schemas) for call in _calls_of(message)]
    return "\n".join([text, *blocks] if text else blocks)


def parse_action(text: str, tools: Sequence[Message]) -> Message:
    """The OpenAI assistant message in the student's text, checked against the tools. Raises InvalidOutput."""
    text = text.removesuffix(TURN_END)
    thought, mark, rest = text.partition(CALL_OPEN)
    if not mark:
        if not thought.strip():
            raise InvalidOutput("empty")
        return {"role": "assistant", "content": thought.strip()}
    calls = []
    while mark:
        call, rest = _read_block(rest)
        calls.append(call)
        between, mark, rest = rest.partition(CALL_OPEN)
        if between.strip():
            raise InvalidOutput("text_after_call")
    message: Message = {"role": "assistant", "content": thought.strip() or None, "tool_calls": calls}
    if reason := validate_action(action_of(message), list(tools)):
        raise InvalidOutput(reason)
    return message


def _read_block(rest: str) -> tuple[Message, str]:
    """One call after its opening tag, and the text behind its closing tag. A tag inside a string ends nothing."""
    try:
        value, end = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode(rest.lstrip())
    except (ValueError, RecursionError):
        raise InvalidOutput("bad_json" if CALL_CLOSE in rest else "unclosed") from None
    tail = rest.lstrip()[end:].lstrip()
    if not tail.startswith(CALL_CLOSE):
        raise InvalidOutput("unclosed")
    well_formed = isinstance(value, dict) and set(value) == {"name", "arguments"}
    if not well_formed or not isinstance(value["name"], str) or not isinstance(value["arguments"], dict):
        raise InvalidOutput("bad_json")
    function = {"name": value["name"], "arguments": _compact(value["arguments"])}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}, tail[len(CALL_CLOSE) :]


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _system_turn(messages: Sequence[Message], tools: Sequence[Message], spec: PromptSpec) -> str:
    """The first turn: the system prompt, or what varies in it; and the tool schemas unless they are internalised."""
    text = system_text(list(messages))
    if spec.mode == "internalised":
        text = "\n".join(line for part in varying_parts(text, spec) for line in _shown(part, spec))
    elif tools:
        listed = "\n".join(_compact(tool["function"]) for tool in tools if _is_function(tool))
        text = f"{text}\n\n<tools>\n{listed}\n</tools>".lstrip()
    return _turn("system", _inert(text)) if text.strip() else ""


def varying_parts(system: str, spec: PromptSpec) -> list[Part]:
    """What the student's skeleton does not fix in a system prompt."""
    return _parts(tuple(spec.skeleton), system)


@lru_cache(maxsize=64)
def _parts(lines: tuple[str, ...], system: str) -> list[Part]:
    # For one request both the prompt and the values of grounded arguments are taken from them; nobody changes them.
    return _skeleton(lines).parts(system)


def _shown(part: Part, spec: PromptSpec) -> list[str]:
    """The lines of a varying part that the student reads."""
    if part.kind == "records" and spec.records is not None:
        records = record_lists.read(part.lines)
        return part.lines if records is None else record_lists.written(records, spec.records)
    if part.kind == "values" and spec.hides and part.value_kinds:
        kept = [value for value, kind in zip(part.lines, part.value_kinds, strict=True) if kind not in spec.hides]
        return [", ".join(kept)] if kept else []
    return written_part(part)


@lru_cache(maxsize=64)
def _skeleton(lines: tuple[str, ...]) -> Skeleton:
    # It compiles its patterns on first use; a student renders thousands of prompts with one skeleton.
    return Skeleton(lines)


def _leading_system(messages: Sequence[Message]) -> int:
    for position, message in enumerate(messages):
        if message.get("role") not in ("system", "developer"):
            return position
    return len(messages)


def _end_of_results(messages: Sequence[Message], start: int) -> int:
    end = start
    while end < len(messages) and messages[end].get("role") in ("tool", "function"):
        end += 1
    return end


def _tool_results(messages: Sequence[Message]) -> str:
    return "\n".join(f"<tool_response>{_inert(_plain(message.get('content')))}</tool_response>" for message in messages)


def _turn(role: str, text: str) -> str:
    return f"<|im_start|>{role}\n{text}{TURN_END}\n"


def _calls_of(message: Message) -> list[Message]:
    calls = [call.get("function") or {} for call in message.get("tool_calls") or []]
    return calls or [message["function_call"]] if message.get("function_call") else calls


def _call_block(function: Message, schemas: dict[str, Message]) -> str:
    name, raw = function.get("name") or "", function.get("arguments") or "{}"
    try:
        arguments = json.loads(raw) if isinstance(raw, str) else raw
    except ValueError:
        arguments = raw
    schema = schemas.get(name) or {}
    ordered = _in_schema_order(fitted(arguments, schema), schema)
    return f"{CALL_OPEN}{_inert(_compact({'name': name, 'arguments': ordered}))}{CALL_CLOSE}"


def _in_schema_order(value: Any, schema: Any) -> Any:
    """Teachers write arguments in any order; the student learns, and its grammar allows, the schema's only."""
    if not isinstance(schema, dict):
        return value
    if isinstance(value, list):
        return [_in_schema_order(item, schema.get("items")) for item in value]
    if not isinstance(value, dict):
        return value
    known = schema.get("properties") or {}
    names = [name for name in known if name in value] + [name for name in value if name not in known]
    return {name: _in_schema_order(value[name], known.get(name)) for name in names}


def _plain(content: Any) -> str:
    """Text of a message's content: a string, or a list of text parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts: list[str] = []
    for part in parts:
        text = part.get("text", part.get("refusal")) if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise BadInput("The student reads text only; the message has a part that is none (an image or audio?).")
        texts.append(text)
    return "\n".join(texts)


def _inert(text: str) -> str:
    """Text that cannot open or close a turn, and that every tokenizer accepts (no lone surrogates)."""
    sound = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _CONTROL.sub(r"<| \1|>", sound)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _is_function(tool: Any) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("function"), dict) and bool(tool["function"].get("name"))
