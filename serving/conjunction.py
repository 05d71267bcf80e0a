"""Two JSON schemas as one that both describe: `allOf`, and keywords beside `anyOf` or `$ref`.

The result never forbids what both allow. Where two keywords cannot be put into one the first stays alone, and what
that lets through is found by the check of the finished answer.
"""

import re
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

from ..traffic.schema import equal
from .gbnf import Impossible


def conjunction(one: Any, other: Any) -> Any:
    """The values that fit both. Raises Impossible where it is plain that there are none."""
    if one is False or other is False:
        raise Impossible("nothing fits it")
    if not isinstance(one, Mapping):
        return other
    if not isinstance(other, Mapping):
        return one
    merged = dict(one)
    for key, value in other.items():
        merged[key] = _MERGERS.get(key, _first)(merged[key], value) if key in merged else value
    if "properties" in merged:
        merged["properties"] = _named(merged, one, other)
    return merged


def _named(merged: Mapping[str, Any], one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The named members, each of which is an additional one to the schema that does not name it."""
    found: dict[str, Any] = {}
    for name, part in merged["properties"].items():
        limits = [schema["additionalProperties"] for schema in (one, other) if _is_additional(name, schema)]
        if False not in limits:
            found[name] = reduce(_both, limits, part)
        elif name in merged.get("required", ()):
            raise Impossible(f"{name} is required and forbidden at the same time")
    return found


def _is_additional(name: str, schema: Mapping[str, Any]) -> bool:
    """Whether the schema's `additionalProperties` is about this member. Where a pattern cannot be read, it is not."""
    if name in schema.get("properties", {}) or schema.get("additionalProperties", True) is True:
        return False
    try:
        return not any(re.search(pattern, name) for pattern in schema.get("patternProperties", {}))
    except re.error:
        return False


def _first(one: Any, other: Any) -> Any:
    return one


def _types(one: Any, other: Any) -> list[str]:
    """An integer is a number."""
    left, right = ([kinds] if isinstance(kinds, str) else list(kinds) for kinds in (one, other))
    both = [kind for kind in left if kind in right or (kind == "integer" and "number" in right)]
    both += [kind for kind in right if kind == "integer" and "number" in left and kind not in both]
    if not both:
        raise Impossible(f"it must be {one} and {other} at the same time")
    return both


def _constant(one: Any, other: Any) -> Any:
    if not equal(one, other):
        raise Impossible("it must have two values at the same time")
    return one


def _members(one: list[Any], other: list[Any]) -> list[Any]:
    return [value for value in one if any(equal(value, wanted) for wanted in other)]


def _properties(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, **{name: _both(one[name], part) if name in one else part for name, part in other.items()}}


def _both(one: Any, other: Any) -> Any:
    if one is False or other is False:
        return False
    return one if equal(one, other) else {"allOf": [one, other]}


def _alternatives(one: list[Any], other: list[Any]) -> list[Any]:
    return [_both(left, right) for left in one for right in other]


def _joined(one: list[Any], other: list[Any]) -> list[Any]:
    return [*one, *(value for value in other if value not in one)]


_MERGERS: dict[str, Callable[[Any, Any], Any]] = {
    "type": _types,
    "const": _constant,
    "enum": _members,
    "properties": _properties,
    "patternProperties": _properties,
    "$defs": _properties,
    "items": _both,
    "additionalProperties": _both,
    "propertyNames": _both,
    "anyOf": _alternatives,
    "oneOf": _alternatives,
    "allOf": _joined,
    "required": _joined,
    **dict.fromkeys(("minimum", "minLength", "minItems", "minProperties", "exclusiveMinimum"), max),
    **dict.fromkeys(("maximum", "maxLength", "maxItems", "maxProperties", "exclusiveMaximum"), min),
}
