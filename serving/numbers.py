"""Numbers between bounds as GBNF: integers exactly, decimals exactly where the bounds are integers."""

import math
from collections.abc import Mapping
from typing import Any

from ..traffic.schema import is_number
from .gbnf import Impossible, Rules, one_of

_DIGITS = 15
"""Digits of the largest integer that is written: every reader of JSON keeps so many exactly."""
_END = 10**_DIGITS


def integer(schema: Mapping[str, Any], rules: Rules) -> str:
    """Name of the rule for the integers that a schema allows. Raises Impossible."""
    low, high = _span(schema)
    options = _whole(schema, low, high)
    if not options:
        raise Impossible(f"no integer lies between {low:g} and {high:g}")
    return rules.add("int", one_of(options))


def number(schema: Mapping[str, Any], rules: Rules) -> str:
    """Name of the rule for the numbers that a schema allows; where a bound is no integer, also for some beyond it.
    Raises Impossible."""
    low, high = _span(schema)
    strict = _open(schema, "Minimum", low) or _open(schema, "Maximum", high)
    if low > high or (low == high and strict):
        raise Impossible(f"no number lies between {low:g} and {high:g}")
    first, last = math.floor(low), math.ceil(high)
    above = _unsigned(max(first, 0), min(last, _END) - 1)
    below = _unsigned(max(-last, 0), min(-first, _END) - 1)
    options = [f"({one_of(above)} fraction)"] * bool(above) + [f'("-" {one_of(below)} fraction)'] * bool(below)
    options += _whole(schema, low, high)
    return rules.add("num", one_of(options))


def _span(schema: Mapping[str, Any]) -> tuple[float, float]:
    lows = [schema.get("minimum"), schema.get("exclusiveMinimum"), -_END]
    highs = [schema.get("maximum"), schema.get("exclusiveMaximum"), _END]
    return max(filter(is_number, lows)), min(filter(is_number, highs))


def _open(schema: Mapping[str, Any], end: str, bound: float) -> bool:
    """Whether the bound itself is excluded: by a number of its own, or by draft 4's flag."""
    excluded = schema.get(f"exclusive{end}")
    return bound == schema.get(end.lower()) if excluded is True else is_number(excluded) and excluded == bound


def _whole(schema: Mapping[str, Any], low: float, high: float) -> list[str]:
    first = math.floor(low) + 1 if _open(schema, "Minimum", low) else math.ceil(low)
    last = math.ceil(high) - 1 if _open(schema, "Maximum", high) else math.floor(high)
    first, last = max(first, 1 - _END), min(last, _END - 1)
    below = [f'("-" {part})' for part in _unsigned(max(1, -last), -first)]
    return below + _unsigned(max(0, first), last)


def _unsigned(first: int, last: int) -> list[str]:
    """Parts that together write every integer of `first` to `last` once; none when the range is empty. 0 ≤ `first`."""
    parts: list[str] = []
    if first <= 1 < last == 10 ** len(str(last)) - 1:
        more = len(str(last)) - 1
        return ['"0"'] * (first == 0) + [f"[1-9] [0-9]{{0,{more}}}" if more else "[1-9]"]
    while first <= last:
        end = min(last, 10 ** len(str(first)) - 1)
        parts += _digits(str(first), str(end))
        first = end + 1
    return parts


def _digits(low: str, high: str) -> list[str]:
    """As `_unsigned`, for bounds with equally many digits."""
    rest = len(low) - 1
    if low[1:] == "0" * rest and high[1:] == "9" * rest:
        return [_digit(low[0], high[0]) + (f" [0-9]{{{rest}}}" if rest else "")]
    if low[0] == high[0]:
        return [f'"{low[0]}" {one_of(_digits(low[1:], high[1:]))}']
    parts = [f'"{low[0]}" {one_of(_digits(low[1:], "9" * rest))}']
    first, last = int(low[0]) + 1, int(high[0]) - 1
    if first <= last:
        parts.append(f"{_digit(str(first), str(last))} [0-9]{{{rest}}}")
    return [*parts, f'"{high[0]}" {one_of(_digits("0" * rest, high[1:]))}']


def _digit(low: str, high: str) -> str:
    return f'"{low}"' if low == high else f"[{low}-{high}]"
