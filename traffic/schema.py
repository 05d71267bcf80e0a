"""The part of JSON Schema that tool parameters use: checking a value, and writing it in one canonical way.

Checked: type, enum, const, required, properties, additionalProperties, items, anyOf, oneOf, allOf, local $ref,
minimum, maximum, exclusive bounds, minLength, maxLength, minItems, maxItems. Other keywords are ignored, so a value
may pass here that a full validator would refuse, never the other way round.
"""

import math
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeGuard

Schema = dict[str, Any]

MAX_DEPTH = 40
"""Deeper values are refused."""


def check(value: Any, schema: Any) -> str:
    """Where `value` breaks `schema`: a path such as `$.items[2].name`, or an empty string when it fits."""
    return _check(value, schema, "$", schema, ())


_Active = tuple[tuple[int, int], ...]
"""The schemas being checked and on which value, outermost first."""


def _check(value: Any, schema: Any, path: str, root: Any, active: _Active) -> str:
    if schema is False or len(active) > MAX_DEPTH:
        return path
    if not isinstance(schema, dict):
        return ""
    schema = resolve(schema, root)
    here = id(schema), id(value)
    if here in active:
        # A reference loop that consumes nothing: it says nothing, and following it would never end.
        return ""
    active = (*active, here)
    if not (_type_fits(value, schema) and _constant_fits(value, schema) and _size_fits(value, schema)):
        return path
    return _check_parts(value, schema, path, root, active) or _check_choices(value, schema, path, root, active)


def _check_parts(value: Any, schema: Schema, path: str, root: Any, active: _Active) -> str:
    if isinstance(value, list):
        items = schema.get("items", True)
        found = (_check(item, items, f"{path}[{index}]", root, active) for index, item in enumerate(value))
        return next(filter(None, found), "")
    if not isinstance(value, dict):
        return ""
    for name in schema.get("required") or ():
        if name not in value:
            return f"{path}.{name}"
    properties, others = schema.get("properties") or {}, schema.get("additionalProperties", True)
    found = (_check(value[key], properties.get(key, others), f"{path}.{key}", root, active) for key in value)
    return next(filter(None, found), "")


def _check_choices(value: Any, schema: Schema, path: str, root: Any, active: _Active) -> str:
    def fits(option: Any) -> bool:
        return not _check(value, option, path, root, active)

    if "anyOf" in schema and not any(map(fits, schema["anyOf"])):
        return path
    if "oneOf" in schema and sum(map(fits, schema["oneOf"])) != 1:
        return path
    return "" if all(map(fits, schema.get("allOf") or ())) else path


def resolve(schema: Any, root: Any) -> Any:
    """`schema` with a local `$ref` followed; an unknown or circular reference allows everything."""
    for _ in range(MAX_DEPTH):
        reference = schema.get("$ref") if isinstance(schema, dict) else None
        if not isinstance(reference, str):
            return schema
        target: Any = root if reference.startswith("#") else {}
        for part in reference.split("/")[1:]:
            target = target.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(target, dict) else {}
        schema = target
    return {}


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether it is a JSON number: Python's booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": is_number,
    "integer": lambda value: is_number(value) and (isinstance(value, int) or value.is_integer()),
}


def types_of(schema: Any) -> tuple[str, ...]:
    """The types a schema names itself; empty when it names none."""
    named = schema.get("type") if isinstance(schema, dict) else None
    if isinstance(named, str):
        return (named,)
    return tuple(name for name in named if isinstance(name, str)) if isinstance(named, list) else ()


def _type_fits(value: Any, schema: Schema) -> bool:
    types = types_of(schema)
    if not types or (value is None and schema.get("nullable") is True):
        return True
    return any(name not in _TYPES or _TYPES[name](value) for name in types)


def _constant_fits(value: Any, schema: Schema) -> bool:
    allowed = schema.get("enum")
    if isinstance(allowed, list) and not any(equal(value, one) for one in allowed):
        return False
    return "const" not in schema or equal(value, schema["const"])


def _size_fits(value: Any, schema: Schema) -> bool:
    if is_number(value):
        strict = _bound(schema, "exclusiveMinimum", -math.inf), _bound(schema, "exclusiveMaximum", math.inf)
        closed = _bound(schema, "minimum", -math.inf) <= value <= _bound(schema, "maximum", math.inf)
        return closed and (strict[0] < value or strict[0] == -math.inf) and (value < strict[1] or strict[1] == math.inf)
    if isinstance(value, str | list):
        kind = "Length" if isinstance(value, str) else "Items"
        return _bound(schema, f"min{kind}", 0) <= len(value) <= _bound(schema, f"max{kind}", math.inf)
    return True


def _bound(schema: Schema, name: str, default: float) -> float:
    bound = schema.get(name)
    return bound if is_number(bound) else default  # draft 4 has booleans here


def equal(one: Any, other: Any) -> bool:
    """Equality of JSON values: 1 equals 1.0, but true is not 1. Too deep to be walked counts as different."""
    try:
        return _equal(one, other)
    except RecursionError:
        return False


def _equal(one: Any, other: Any) -> bool:
    if is_number(one) and is_number(other):
        return one == other
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return one == other


def canonical_arguments(value: Any, schema: Any) -> Any:
    """The one way to write arguments that mean the same under `schema`; compare two of them with `equal`.

    Missing properties with a default are filled in, and an explicit null that means "not given" (an optional, nullable
    property without another default) is dropped. Strings are trimmed and brought to NFC; a full ISO date-time gets one
    form (aware times in UTC). Enum members, numbers and booleans stay as they are: "1.5" is never "15", "5" never 5.
    A lone value where only an array may stand is an array of it.
    """
    return _canonical(value, schema, schema, 0)


def _canonical(value: Any, schema: Any, root: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return value
    schema = resolve(schema, root) if isinstance(schema, dict) else {}
    schema = _chosen(value, schema, root)
    value = _as_array(value, schema, root)
    if isinstance(value, str):
        return value if "enum" in schema or "const" in schema else canonical_text(value)
    if isinstance(value, list):
        return [_canonical(item, schema.get("items"), root, depth + 1) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties") or {}
    required = schema.get("required") or ()
    written = {}
    for key, item in value.items():
        part = resolve(properties.get(key), root)
        if not (item is None and key not in required and _null_is_absent(part, root)):
            written[key] = _canonical(item, part, root, depth + 1)
    for key, part in properties.items():
        part = resolve(part, root)
        if key not in value and isinstance(part, dict) and part.get("default") is not None:
            written[key] = _canonical(part["default"], part, root, depth + 1)
    return written


def _chosen(value: Any, schema: Schema, root: Any) -> Schema:
    """The first alternative of anyOf/oneOf that the value fits, for schemas such as "an address or null"."""
    for option in (*(schema.get("anyOf") or ()), *(schema.get("oneOf") or ())):
        if isinstance(option, dict) and not _check(value, option, "$", root, ()):
            return resolve(option, root)
    return schema


def fitted(value: Any, schema: Any) -> Any:
    """Arguments with each lone value that stands where only an array may put into one, at any depth.

    Models often write `"domain": "fan"` where the schema asks for a list. Only a sound item is put into an array, so
    nothing that fits its schema is changed."""
    return _fitted(value, schema, schema, 0)


def _fitted(value: Any, schema: Any, root: Any, depth: int) -> Any:
    schema = resolve(schema, root)
    if depth > MAX_DEPTH or not isinstance(schema, dict):
        return value
    value = _as_array(value, schema, root)
    if isinstance(value, list):
        return [_fitted(item, schema.get("items"), root, depth + 1) for item in value]
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        return {key: _fitted(item, properties.get(key), root, depth + 1) for key, item in value.items()}
    return value


def _as_array(value: Any, schema: Schema, root: Any) -> Any:
    """The value, in an array when the schema allows nothing else and the array then fits it."""
    if value is None or isinstance(value, list) or types_of(schema) != ("array",):
        return value
    return value if _check([value], schema, "$", root, ()) else [value]


def _null_is_absent(schema: Any, root: Any) -> bool:
    return isinstance(schema, dict) and schema.get("default") is None and not _check(None, schema, "$", root, ())


# The dashes and the colon are required: "20240105" and "1530" are more likely an id and a number than times.
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:?\d\d)?")


def canonical_text(text: str) -> str:
    """Trimmed, NFC, and one form for a full ISO date-time."""
    text = unicodedata.normalize("NFC", text).strip()
    if not _DATE_TIME.fullmatch(text):
        return text
    try:
        moment = datetime.fromisoformat(text.upper())
        return (moment if moment.tzinfo is None else moment.astimezone(UTC)).isoformat()
    except (ValueError, OverflowError):
        return text
