"""Values that are personal for where they stand: under a field, behind a label, or in the form of a postal address.

`1977-09-23` is a date; under `dob` or behind "born on" it is somebody's birthday. The same table of names serves keys
in JSON and `key: value` lines in texts (YAML, tables, Python's own notation); sentences have forms of their own.
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from .findings import Finding, Recogniser
from .people import is_first_name, looks_like_a_name

_DATE = r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{1,2}\.? [A-Z][a-zé]{2,8},? \d{4}"
_DATE = rf"(?:{_DATE}|[A-Z][a-zé]{{2,8}} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}})"
_NUMBER = r"(?=[A-Z0-9 -]{0,14}\d)[A-Z0-9](?:[A-Z0-9]|[ -](?=[A-Z0-9]*\d)){4,14}"
_STREET = (
    r"Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Place|Pl|Terrace|Parkway|Pkwy|Square|"
    r"Highway|Hwy|Circle|Trail|Crescent|Close|Row|Way"
)
_ADDRESS = (
    rf"\d{{1,5}}[A-Za-z]? (?:[A-Z0-9][\w'’.-]* ){{1,3}}(?:{_STREET})\b\.?"
    r"(?:,? (?:Apt|Apartment|Suite|Unit|Flat)\.? ?#?\w{1,5})?"
    r"|[A-ZÄÖÜ][\wäöüß.-]*(?:straße|strasse|str\.|gasse|allee|weg|platz) \d{1,4}[a-z]?\b"
    r"|(?:[Rr]ue|[Vv]ia|[Cc]alle|[Aa]venida|[Rr]ua) (?:d[eu]l?(?:la)? )?"
    r"[A-ZÀ-Þ][\w'’-]+(?: [A-ZÀ-Þ][\w'’-]+)?,? \d{1,4}\b"
)

_FIELDS: dict[str, str] = {
    "PERSON": r"(?:first|last|middle|given|family|maiden|full|sur|nick|customer|user|patient|contact|passenger|guest"
    r"|employee|holder|owner|cardholder|recipient|sender|author|display|legal)[_ ]?name|surname|name_on_card",
    "DATE_OF_BIRTH": r"dob|birth[_ ]?da(?:te|y)|date[_ ]?of[_ ]?birth|born",
    "STREET_ADDRESS": r"(?:street|home|postal|mailing|billing|shipping)?[_ ]?address(?:[_ ]?(?:line)?[_ ]?[123])?"
    r"|street(?:[_ ]?(?:name|line))?",
    "POSTAL_CODE": r"zip|zip[_ ]?code|post(?:al)?[_ ]?code|plz",
    "PASSPORT": r"passport(?:[_ ]?(?:number|no|num|id))?",
    "DRIVER_LICENSE": r"driv(?:er'?s?|ing)[_ ]?licen[cs]e(?:[_ ]?(?:number|no|id))?",
    "BANK_ACCOUNT": r"(?:bank[_ ]?)?account[_ ]?(?:number|no|num)|bank[_ ]?account|acct[_ ]?(?:no|number)?",
    "US_SSN": r"ssn|social[_ ]?security(?:[_ ]?(?:number|no))?",
    "SECRET": r"password|passwd|passphrase|secret(?:[_ ]?key)?|client[_ ]?secret|api[_ ]?key|private[_ ]?key"
    r"|(?:access|auth|refresh|bearer|id)[_ ]?token|cvv|cvc|otp",
    "USER_NAME": r"user[_ ]?(?:name|id)|username|login|screen[_ ]?name|handle|customer[_ ]?id|author[_ ]?id",
}
"""Names of fields by kind, whole and in any case; `firstName` reads as `first_Name`."""
_VALUES: dict[str, str] = {
    "PERSON": r"[^\W\d_][^\d\n@:;{}\[\]()<>/]{0,48}",
    "DATE_OF_BIRTH": _DATE,
    "STREET_ADDRESS": r"(?=.{0,60}\d).{4,80}",
    "POSTAL_CODE": r"(?=.*\d)[A-Z0-9][A-Z0-9 -]{2,9}",
    "PASSPORT": _NUMBER,
    "DRIVER_LICENSE": _NUMBER,
    "BANK_ACCOUNT": r"\d(?:[ -]?\d){5,19}",
    "US_SSN": r"\d{3}[ -]?\d{2}[ -]?\d{4}",
    "SECRET": r"\S{3,200}",
    "USER_NAME": r"[A-Za-z][\w.-]{2,39}",
}
"""What the whole value looks like."""
_FIELD = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in _FIELDS.items()}
_VALUE = {kind: re.compile(pattern) for kind, pattern in _VALUES.items()}
_PLACEHOLDERS = re.compile(r"(?i)none|null|n/?a|unknown|true|false|me|self|user|customer|string|\*+|x+|redacted|hidden")
_OPAQUE = re.compile(r"(?i)[0-9a-f]{8}-[0-9a-f-]{27}|[a-z]{1,8}[_-]?\d+")
"""Ids that name nobody: UUIDs, a short word and a number."""

_KEY_VALUE = re.compile(
    r"(?P<key>[A-Za-z][A-Za-z_ ]{1,24}[A-Za-z1-3])(?:\*\*|['\"])?[ ]?(?::\*\*|[:=])[ ]{0,2}['\"]?"
    r"(?P<value>[^\s'\"{}\[\]][^\n'\"{}\[\]]{1,79})"
)
_SEPARATOR = re.compile(r"[:=]")
_LABEL_ENDS = (
    *("name", "card", "dob", "date", "day", "birth", "born", "address", "1", "2", "3", "line", "street", "zip", "code"),
    *("plz", "passport", "number", "no", "num", "id", "license", "licence", "account", "acct", "ssn", "security"),
    *("password", "passwd", "passphrase", "secret", "key", "token", "cvv", "cvc", "otp", "login", "handle"),
)
"""How the names in _FIELDS end. Few lines hold such a label: looking for one first is five times as fast."""
_SENTENCES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("DATE_OF_BIRTH", rf"(?i:born|birthday|birth|dob)(?: (?i:is|was|on|in|of))*[ :]{{1,2}}(?P<value>{_DATE})"),
        ("PASSPORT", rf"(?i:passport)(?: (?i:number|no\.?|#|is|id))*[ :#]{{1,2}}(?P<value>{_NUMBER})\b"),
        (
            "DRIVER_LICENSE",
            rf"(?i:driv(?:er'?s?|ing) licen[cs]e)(?: (?i:number|no\.?|#|is))*[ :#]{{1,2}}(?P<value>{_NUMBER})\b",
        ),
        (
            "BANK_ACCOUNT",
            r"(?i:account (?:number|no\.?|#))(?: (?i:is|ending in))*[ :#]{1,2}(?P<value>\d(?:[ -]?\d){5,19})\b",
        ),
        ("US_SSN", r"(?i:ssn|social security(?: number)?)(?: is)?[ :]{1,2}(?P<value>\d{3}[ -]?\d{2}[ -]?\d{4})\b"),
        (
            "SECRET",
            r"(?i:password|passphrase|api key|access token|secret key)(?: (?i:is|was|to))?[ :=]{1,2}['\"`]?"
            r"(?P<value>(?=\S*[\d!#$%&*])[^\s'\"`,;]{6,100}?)(?=['\"`,;]|[.!?]?(?:\s|$))",
        ),
        ("SECRET", r"(?<![\w-])(?P<value>(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{20,})"),
        ("SECRET", r"(?<![\w-])(?P<value>(?:AKIA|ASIA)[A-Z0-9]{16}|xox[abprs]-[\w-]{10,}|AIza[\w-]{35})\b"),
        ("SECRET", r"(?<![\w-])(?P<value>eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})"),
        ("STREET_ADDRESS", rf"(?<![\w#.-])(?P<value>{_ADDRESS})"),
        (
            "USER_NAME",
            r"(?i:user ?name|user id|login|handle)(?: (?i:is|was))?[ :]{1,2}['\"`@]?"
            r"(?P<value>(?=[\w.-]*[_.\d])[A-Za-z][\w.-]{2,38}\w)",
        ),
    )
)
_NAMED_ID = re.compile(r"(?<![\w@.-])(?P<first>[a-z]{3,})_[a-z]{2,}(?:_\d{2,})(?![\w@-])")
_HINTS = re.compile(
    r"(?i)birth|born|dob|passport|licen[cs]e|account|ssn|social sec|passw|passphrase|key|token|user|login|handle|"
    r"sk[-_]|pk[-_]|gh[pousr]_|AKIA|ASIA|xox|AIza|eyJ|\d [A-Z0-9]|stra(?:ß|ss)e|str\.|gasse|allee|weg|platz|rue|via|"
    r"calle|avenida|rua"
)


@lru_cache(maxsize=50_000)
def kind_of_field(name: str) -> str:
    """The kind that the values of a field are, if they look like it; empty when its name says nothing."""
    if not name or len(name) > 40:
        return ""
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).replace("-", "_")
    return next((kind for kind, pattern in _FIELD.items() if pattern.fullmatch(plain)), "")


def of_field(text: str, name: str) -> Finding | None:
    """The whole text as a finding, when the field it stands under makes it personal."""
    kind = kind_of_field(name)
    value = text.strip()
    if name.lower() == "name" and looks_like_a_name(value):
        kind = "PERSON"
    if not kind or not _fits(kind, value):
        return None
    start = text.index(value)
    return Finding(kind, start, start + len(value), 0.9)


def _fits(kind: str, value: str) -> bool:
    if _PLACEHOLDERS.fullmatch(value) or not _VALUE[kind].fullmatch(value):
        return False
    return not (kind == "USER_NAME" and _OPAQUE.fullmatch(value))


def in_text() -> Recogniser:
    """The recogniser for `key: value` lines, labels in sentences and postal addresses."""

    def recognise(text: str) -> Iterable[Finding]:
        for start, end in _labelled_lines(text):
            for match in _KEY_VALUE.finditer(text, start, end):
                yield from _labelled(match)
        if _HINTS.search(text):
            for kind, pattern in _SENTENCES:
                for match in pattern.finditer(text):
                    if not _PLACEHOLDERS.fullmatch(match["value"]):
                        yield Finding(kind, match.start("value"), match.end("value"), 0.8)
        if "_" in text:
            for match in _NAMED_ID.finditer(text):
                if is_first_name(match["first"]):
                    yield Finding("USER_NAME", match.start(), match.end(), 0.7)

    return recognise


def _labelled_lines(text: str) -> Iterator[tuple[int, int]]:
    """The lines that may hold a label, from where to where: no label and value go over a line break."""
    end = -1
    for found in _SEPARATOR.finditer(text):
        at = found.start()
        if at > end and text[max(0, at - 16) : at].rstrip("*'\" ").lower().endswith(_LABEL_ENDS):
            start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
            end = len(text) if end < 0 else end
            yield start, end


def _labelled(match: re.Match[str]) -> Iterable[Finding]:
    # "and the user name: x" ends on the label; the words before it belong to the sentence.
    words = match["key"].split(" ")
    value = match["value"].strip()
    for count in range(min(3, len(words)), 0, -1):
        kind = kind_of_field(" ".join(words[-count:]))
        if kind in ("STREET_ADDRESS", "PERSON", "USER_NAME"):
            value = re.split(r",(?= ?[A-Za-z_ ]{2,20}[:=])|\s{2,}| \||\\n", value)[0].strip()
            value = value.rstrip(".,;")
        elif kind:
            value = re.split(r"[,;|\s](?=\s|$)|\s(?=[A-Za-z(])|\\n", value, maxsplit=1)[0].rstrip(".,;)")
        if kind == "USER_NAME" and value.isalpha() and not is_first_name(value):
            continue  # a word of a sentence
        if kind and _fits(kind, value) and (kind != "PERSON" or len(value.split()) <= 4):
            start = match.start("value")
            yield Finding(kind, start, start + len(value), 0.8)
            return
