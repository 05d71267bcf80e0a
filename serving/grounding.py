"""Arguments held to what the prompt names: a device that is not in the list cannot be asked for.

Training finds arguments whose values always come from one field of the prompt's records (`PromptSpec.grounded`). When
the student answers, the tools' schemas get these values as an `enum`, so that the grammar allows no others. A schema
that has an enum or a constant keeps its own; a prompt without records changes nothing.
"""

from collections.abc import Sequence
from typing import Any

from ..traffic import record_lists
from ..traffic.record_lists import Record
from ..traffic.skeleton import system_text
from ..traffic.students import PromptSpec
from .render import Message, varying_parts

VALUES_LIMIT = 256
"""With more values than this an argument is left free: the grammar would grow with them."""
_FIXED = ("enum", "const", "$ref", "anyOf", "oneOf", "allOf")


def grounded(messages: Sequence[Message], tools: Sequence[Message], spec: PromptSpec) -> list[Message]:
    """The tools, with the values that this prompt allows for the grounded arguments."""
    if not spec.grounded or not tools:
        return list(tools)
    records = records_shown(messages, spec)
    values = {name: record_lists.values_of(records, field) for name, field in spec.grounded.items()}
    values = {name: found for name, found in values.items() if 0 < len(found) <= VALUES_LIMIT}
    return [_tightened(tool, values) for tool in tools] if values else list(tools)


def records_shown(messages: Sequence[Message], spec: PromptSpec) -> list[Record]:
    """All records that the student sees in its system turn."""
    found: list[Record] = []
    for part in varying_parts(system_text(list(messages)), spec):
        if part.kind == "records" and (records := record_lists.read(part.lines)):
            found += records if spec.records is None else record_lists.shown(records, spec.records)
    return found


def _tightened(tool: Message, values: dict[str, list[str]]) -> Message:
    function = tool.get("function")
    schema = function.get("parameters") if isinstance(function, dict) else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or not values.keys() & properties.keys():
        return tool
    held = {name: _held(field, values[name]) if name in values else field for name, field in properties.items()}
    return {
        **tool,
        "function": {**tool["function"], "parameters": {**tool["function"]["parameters"], "properties": held}},
    }


def _held(schema: Any, values: list[str]) -> Any:
    """The schema of one argument, a string or an array of strings, with its values."""
    if not isinstance(schema, dict) or any(key in schema for key in _FIXED):
        return schema
    if schema.get("type") == "string":
        return {**schema, "enum": values}
    if schema.get("type") == "array" and isinstance(schema.get("items"), dict):
        return {**schema, "items": _held(schema["items"], values)}
    return schema
