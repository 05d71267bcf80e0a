"""Facts in a text: addresses, dates, times of day, ids, numbers and negations, each in one way of writing.

Facts are taken out of the text one kind after the other, so that the digits of a date are no numbers as well. Where a
form is ambiguous (05/06/2024) it stays as it is written. Words are English ones.
"""

import re
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from .schema import canonical_text


class Facts(NamedTuple):
    """What two answers must agree in, in the order in which a difference is reported."""

    urls: Counter[str]
    dates: Counter[str]
    times: Counter[str]
    ids: Counter[str]
    numbers: Counter[str]
    negation: Counter[str]
    said: Counter[str]
    """Numbers written as words. They are no facts of their own (one does, both, a), but may stand for a number."""


_MONTHS: tuple[str, ...] = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(?P<{}>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"(?P<{}>\d{{1,2}})(?:st|nd|rd|th)?"
_YEAR = r"(?:,?\s+(?P<{}>\d{{4}}))?(?!\d)"

_URL = re.compile(r"https?://[^\s<>\"')\]]+[^\s<>\"')\].,;:!?]")
_ISO = re.compile(r"\b\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[Zz]|[+-]\d\d:?\d\d)?)?(?!\d)")
_SHORT = re.compile(r"\b\d{1,2}[./]\d{1,2}[./](?:\d{4}|\d\d)\b")
_NAMED = re.compile(
    rf"\b(?:{_DAY.format('d1')}(?:\s+of)?\s+{_MONTH.format('m1')}{_YEAR.format('y1')}"
    rf"|{_MONTH.format('m2')}\s+{_DAY.format('d2')}{_YEAR.format('y2')})\b",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"(?<![\w.:])(?:(?P<h>[01]?\d|2[0-3]):(?P<m>[0-5]\d)(?::(?P<s>[0-5]\d))?(?:\s?(?P<half>[ap])\.?m\b\.?)?"
    r"|(?P<hour>1[0-2]|0?[1-9])\s?(?P<mark>[ap])\.?m\b\.?)(?![\w:])",
    re.IGNORECASE,
)
_ID = re.compile(r"\b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{3,}\b|#\w+")
# A minus sign counts unless it joins two words or numbers, as in "3-5" or "mid-2024".
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)|(?<=[\w.][-:/])\d+(?:\.\d+)?")
_NEGATION = re.compile(r"\b(?:no|not|never|none|nothing|nobody|without|neither|nor|cannot|unable)\b|n't\b")
_WORDS = {
    "no": "0", "zero": "0", "a": "1", "an": "1", "one": "1", "two": "2", "both": "2", "three": "3", "four": "4",
    "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
}  # fmt: skip
_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b", re.IGNORECASE)


def facts_of(text: str) -> Facts:
    """The facts in a normalised text (`texts.normalise`)."""
    urls, text = _cut(_URL, text, _whole)
    iso, text = _cut(_ISO, text, lambda found: canonical_text(found.group()))
    named, text = _cut(_NAMED, text, _named)
    short, text = _cut(_SHORT, text, _whole)
    times, text = _cut(_TIME, text, _time)
    ids, rest = _cut(_ID, text, _whole)
    negations = Counter({"not": len(_NEGATION.findall(text))})
    said = Counter(_WORDS[word.lower()] for word in _WORD.findall(rest))
    return Facts(urls, iso + named + short, times, ids, Counter(numbers(text)), +negations, said)


def first_difference(one: Facts, other: Facts) -> str:
    """Name of the first kind of fact that differs, or an empty string."""
    for name in ("urls", "dates", "times", "ids"):
        if getattr(one, name) != getattr(other, name):
            return name
    # A number that only one side has may stand as a word on the other: "2 lights", "two lights".
    if (one.numbers - other.numbers) - other.said or (other.numbers - one.numbers) - one.said:
        return "numbers"
    return "negation" if one.negation != other.negation else ""


def numbers(text: str) -> list[str]:
    """Numbers in their simplest form: "1,000.50" is 1000.5, a sign is kept."""
    return [_simplest(found) for found in _NUMBER.findall(text)]


def _simplest(number: str) -> str:
    number = number.replace(",", "").lstrip("+")
    return number.rstrip("0").rstrip(".") if "." in number else number


def _cut(form: re.Pattern[str], text: str, read: Callable[[re.Match[str]], str]) -> tuple[Counter[str], str]:
    """The facts of one form, and the text without them. What `read` gives nothing for stays in the text."""
    found: Counter[str] = Counter()

    def take(match: re.Match[str]) -> str:
        fact = read(match)
        if not fact:
            return match.group()
        found[fact] += 1
        return " "

    return found, form.sub(take, text)


def _whole(found: re.Match[str]) -> str:
    return found.group()


def _named(found: re.Match[str]) -> str:
    """`2024-06-05`, or `--06-05` without a year; empty for what is no day."""
    day, month, year = (found[f"{part}1"] or found[f"{part}2"] for part in "dmy")
    number = _MONTHS.index(month[:3].lower()) + 1
    return f"{year or '-'}-{number:02}-{int(day):02}" if 1 <= int(day) <= 31 else ""


def _time(found: re.Match[str]) -> str:
    """`15:00`, with seconds where they are given; empty for what is no time, such as 14:00 am."""
    half = (found["half"] or found["mark"] or "").lower()
    hour, minute = int(found["h"] or found["hour"]), found["m"] or "00"
    if half:
        if not 1 <= hour <= 12:
            return ""
        hour = hour % 12 + 12 * (half == "p")
    return f"{hour:02}:{minute}" + (f":{found['s']}" if found["s"] else "")
