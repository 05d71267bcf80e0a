"""The outer form of values: check digits, dates in many spellings, upper and lower case. Nothing here is secret."""

import hashlib
import re
import unicodedata
from collections.abc import Callable

PUBLIC_HOSTS = frozenset(
    f"{name}.{end}"
    for end, names in {
        "com": ("gmail", "googlemail", "outlook", "hotmail", "live", "yahoo", "icloud", "aol", "protonmail", "example"),
        "net": ("gmx", "example"),
        "org": ("example",),
        "de": ("gmx", "web"),
        "me": ("proton",),
    }.items()
    for name in names
)
"""Hosts that say nothing about a person: they are kept."""
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_DATE = re.compile(r"(?P<a>\d{1,4})(?P<mark>[-/.])(?P<b>\d{1,2})(?P=mark)(?P<c>\d{1,4})")


def luhn(body: str) -> str:
    """Check digit of a card number (ISO/IEC 7812-1)."""
    total = 0
    for place, char in enumerate(reversed(body)):
        digit = int(char) * (2 if place % 2 == 0 else 1)
        total += digit - 9 if digit > 9 else digit
    return str(-total % 10)


def refill(form: str, characters: str) -> str:
    """`form` with its letters and digits exchanged, in order, for `characters`; spaces and marks stay."""
    fresh = iter(characters)
    return "".join(cased_like(next(fresh), char) if char.isalnum() else char for char in form)


def cased_like(word: str, form: str) -> str:
    """`word` in the case of `form`: upper, lower, or a capital first."""
    if form.isupper() and (len(form) > 1 or len(word) == 1):
        return word.upper()
    return word.capitalize() if form[:1].isupper() else word.lower()


def folded(word: str) -> str:
    """Lower case without accents, as names are written in addresses: `Kašpar` is `kaspar`."""
    return "".join(char for char in unicodedata.normalize("NFKD", word.lower()) if not unicodedata.combining(char))


def date_like(value: str, number: Callable[[int, int], int]) -> str:
    """Another date written like `value`, up to nine years away; empty when the form is unknown.

    `number(low, high)` draws from [low, high). The order of day and month stays as it was, and so does their width."""
    day, shift = number(1, 29), number(1, 10)
    plain = _DATE.fullmatch(value.strip())
    if plain:
        return _numeric(plain, number(1, 13), day, shift)
    words = re.sub(r"[A-Za-zé]{3,}", lambda match: _month(match.group(), number(0, 12)), value)
    fresh = re.sub(r"\d{4}", lambda match: str(int(match.group()) - shift), words)
    fresh = re.sub(r"(?<!\d)\d{1,2}(?!\d)", str(day), fresh, count=1)
    return fresh if fresh != value and re.search(r"\d{4}", value) else ""


def _numeric(match: re.Match[str], month: int, day: int, shift: int) -> str:
    mark, parts = match["mark"], [match["a"], match["b"], match["c"]]
    if len(parts[0]) == 4:
        fresh = [f"{int(parts[0]) - shift:04d}", str(month), str(day)]
    else:
        # Which of the first two is the month cannot always be told; both stay below 13 then.
        low = max(1, day % 13)
        fresh = [str(day), str(month)] if int(parts[0]) > 12 else [str(month), str(day if int(parts[1]) > 12 else low)]
        fresh.append(str(max(0, int(parts[2]) - shift)))
    return mark.join(new.zfill(len(old)) for new, old in zip(fresh, parts, strict=True))


def _month(word: str, place: int) -> str:
    low = word.lower()
    if low in _MONTHS:
        return cased_like(_MONTHS[place], word)
    if any(month.startswith(low) for month in _MONTHS):
        return cased_like(_MONTHS[place][:3], word)
    return word


def is_base58(value: str) -> bool:
    """Whether a wallet address is written in base 58 (the older kinds of Bitcoin's)."""
    return value[:1] in ("1", "3") and all(char in _BASE58 for char in value)


def base58check(payload: bytes) -> str:
    """Bitcoin's Base58Check: the payload and four bytes of its double SHA-256."""
    whole = payload + hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
    number = int.from_bytes(whole, "big")
    text = ""
    while number:
        number, rest = divmod(number, 58)
        text = _BASE58[rest] + text
    return "1" * (len(whole) - len(whole.lstrip(b"\0"))) + text
