"""Comparing two answers in words: equal after careful normalisation, or a fact that differs, or unsure.

Normalisation touches nothing that carries meaning: no digit, sign, decimal point or question mark is ever dropped.
Facts written in two ways (5 June 2024, 2024-06-05) are one fact (`text_facts`); but whether the words around them mean
the same is for others to say, so such texts are unsure, never equal.
"""

import unicodedata

from . import schema
from .canonical import loads
from .errors import BadInput
from .text_facts import facts_of, first_difference

_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "\u00a0": " ", "\u202f": " ", "−": "-"})


def normalise(text: str) -> str:
    """NFC, straight quotes, single spaces, no full stop or exclamation mark at the end, lower case but for codes."""
    text = unicodedata.normalize("NFC", text).translate(_QUOTES)
    return " ".join(map(_fold, text.split())).rstrip(".! ")


def _fold(word: str) -> str:
    # Words with a digit or a slash are codes, ids and addresses: "aB3" is not "AB3".
    return word if any(character.isdigit() or character in "/\\_@" for character in word) else word.casefold()


def compare_texts(theirs: str, ours: str) -> str:
    """Why `ours` is not acceptable for `theirs`: `json`, `urls`, `dates`, `times`, `ids`, `numbers`, `negation` or
    `unsure`. Empty when they are the same."""
    structured = _structure(theirs), _structure(ours)
    if None not in structured:
        return "" if schema.equal(*structured) else "json"
    one, other = normalise(theirs), normalise(ours)
    if one == other:
        return ""
    return first_difference(facts_of(one), facts_of(other)) or "unsure"


def _structure(text: str) -> dict | list | None:
    """The text as a JSON object or array, when it is one."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        value = loads(text)
    except BadInput:
        return None
    return value if isinstance(value, dict | list) else None
