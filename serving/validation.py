"""The last word on an answer: whether its arguments fit the tool's schema, keyword by keyword.

The grammar follows the schemas as far as it can; this check follows them to the end. It is the `jsonschema` package, in
the dialect that a schema names (2020-12 where it names none). Formats that it knows by heart are checked too.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec
from jsonschema import FormatChecker, validators
from jsonschema.exceptions import SchemaError, best_match
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable

from .render import InvalidOutput, Message
from .schemas import Uncompilable

_FORMATS = FormatChecker(formats=("date", "ipv4", "uuid"))
_NOWHERE: Registry[Any] = Registry()
"""Nothing is fetched from anywhere: a reference stays within its schema."""


def require_valid(name: str, schema: Any) -> None:
    """Raises Uncompilable for what is no JSON schema."""
    if not isinstance(schema, dict | bool):
        raise Uncompilable(f"{name}: it is no JSON schema, but {str(schema)[:200]} at $")
    try:
        _validator(msgspec.json.encode(schema))
    except SchemaError as error:
        raise Uncompilable(f"{name}: it is no JSON schema, {error.message[:200]} at {error.json_path}") from None


def check_calls(calls: Iterable[Message], tools: Iterable[Message]) -> None:
    """Raises InvalidOutput, with the path, where arguments do not fit the schema of their tool."""
    schemas = {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in tools}
    for call in calls:
        function = call["function"]
        check_value(json.loads(function["arguments"]), schemas[function["name"]])


def check_value(value: Any, schema: Any) -> None:
    """Raises InvalidOutput, with the path, where a value does not fit."""
    try:
        error = best_match(_validator(msgspec.json.encode(schema)).iter_errors(value))
    except (Unresolvable, RecursionError):
        raise InvalidOutput("schema:$") from None
    if error is not None:
        raise InvalidOutput(f"schema:{error.json_path}")


@lru_cache(maxsize=512)
def _validator(schema: bytes) -> Validator:
    read = msgspec.json.decode(schema)
    kind = validators.validator_for(read, default=validators.Draft202012Validator)
    kind.check_schema(read)
    return kind(read, format_checker=_FORMATS, registry=_NOWHERE)
