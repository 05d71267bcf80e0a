"""Comparing two answers in words: equal after careful normalisation, or a fact that differs, or unsure.

Normalisation touches nothing that carries meaning: no digit, sign, decimal point or question mark is ever dropped.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable

from . import schema
from .canonical import loads
from .errors import BadInput

_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "\u00a0": " ", "\u202f": " ", "−": "-"})

_URL = re.compile(r"https?://[^\s<>\"')\]]+[^\s<>\"')\].,;:!?]")
_DATE = re.compile(
    r"\b\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?|\b\d{1,2}[./]\d{1,2}[./]\d{2,4}\b"
)
# A minus sign counts unless it joins two words or numbers, as in "3-5" or "mid-2024".
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)|(?<=[\w.][-:/])\d+(?:\.\d+)?")
_ID = re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{3,}\b|#\w+")
_NEGATION = re.compile(r"\b(?:no|not|never|none|nothing|nobody|without|neither|nor|cannot|unable)\b|n't\b")


def normalise(text: str) -> str:
    """NFC, straight quotes, single spaces, no full stop or exclamation mark at the end, lower case but for codes."""
    text = unicodedata.normalize("NFC", text).translate(_QUOTES)
    return " ".join(map(_fold, text.split())).rstrip(".! ")


def _fold(word: str) -> str:
    # Words with a digit or a slash are codes, ids and addresses: "aB3" is not "AB3".
    return word if any(character.isdigit() or character in "/\\_@" for character in word) else word.casefold()


def compare_texts(theirs: str, ours: str) -> str:
    """Why `ours` is not acceptable for `theirs`: `json`, `urls`, `dates`, `ids`, `numbers`, `negation` or `unsure`.
    Empty when they are the same."""
    structured = _structure(theirs), _structure(ours)
    if None not in structured:
        return "" if schema.equal(*structured) else "json"
    one, other = normalise(theirs), normalise(ours)
    if one == other:
        return ""
    return next((name for name, facts in _FACTS.items() if Counter(facts(one)) != Counter(facts(other))), "unsure")


def _structure(text: str) -> dict | list | None:
    """The text as a JSON object or array, when it is one."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = loads(text)
    except BadInput:
        return None
    return value if isinstance(value, dict | list) else None


def numbers(text: str) -> list[str]:
    """Numbers in their simplest form: "1,000.50" is 1000.5, a sign is kept."""
    return [_simplest(found) for found in _NUMBER.findall(text)]


def _simplest(number: str) -> str:
    number = number.replace(",", "").lstrip("+")
    return number.rstrip("0").rstrip(".") if "." in number else number


def _negated(text: str) -> Iterable[str]:
    return ("not" for _ in _NEGATION.finditer(text))


# Order matters for the reason only: what is named first is the more telling difference.
_FACTS: dict[str, Callable[[str], Iterable[str]]] = {
    "urls": _URL.findall,
    "dates": _DATE.findall,
    "ids": _ID.findall,
    "numbers": numbers,
    "negation": _negated,
}
