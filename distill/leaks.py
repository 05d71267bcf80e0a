"""The second look: nothing personal may be left in what a student will be trained on.

It looks in three ways that do not trust the first pass. The detector runs again over the scrubbed conversations, and
whatever it finds must be a stand-in that was issued. Every original value is searched for literally, in the whole text
of every conversation and, for numbers, in its digits. And values of a sure form (e-mail addresses, cards and IBANs
whose check digits fit, keys) are searched for without any recogniser or walk, in the text as it will be written.
Anything left blocks the run.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..traffic.errors import BadInput
from ..traffic.scrub_rules import ScrubRules
from .detect import Detector
from .exchange import in_a_place
from .forms import luhn
from .scrub import Scrubbed
from .walk import Message, keys, leaves

_SURE = {
    "EMAIL_ADDRESS": re.compile(r"[\w.+-]{1,64}@(?:[a-zA-Z0-9-]{1,63}\.)+[a-zA-Z]{2,24}"),
    "CREDIT_CARD": re.compile(r"(?<![\w.#-])\d(?:[ -]?\d){12,18}(?![\w.-])"),
    "IBAN_CODE": re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)"),
    "SECRET": re.compile(
        r"(?<!\w)(?:sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|(?:AKIA|ASIA)[A-Z0-9]{16})(?!\w)"
    ),
}
_CARD_HEADS = re.compile(r"4\d{12}(?:\d{3})?|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|6(?:011|5\d\d)\d{12}")


@dataclass(frozen=True)
class Leak:
    """A personal value that is still there. The value itself is not kept."""

    scope: str
    """Trajectory."""
    kind: str
    """Entity name, or `original` for a value that was exchanged elsewhere in the trajectory."""
    field: str
    """Key under which it stands; empty for plain text."""


class PersonalDataLeft(BadInput):
    """Scrubbing did not get everything; nothing was trained or written."""

    def __init__(self, leaks: Sequence[Leak]) -> None:
        shown = "; ".join(f"{leak.kind} in {leak.scope} {leak.field}".rstrip() for leak in leaks[:5])
        super().__init__(
            f"Personal data is left in {len({leak.scope for leak in leaks})} session(s) after scrubbing: {shown}. "
            "Nothing was trained. Exclude these sessions, or name harmless values in scrub.allow."
        )
        self.leaks = list(leaks)


def scan(
    scope: str, scrubbed: Scrubbed, detector: Detector, kept: Iterable[str] = (), rules: ScrubRules | None = None
) -> list[Leak]:
    """What is left in one conversation. `kept`: values that are allowed to stay; `rules`: fields that are."""
    known = _Known(scrubbed, kept)
    rules = rules or ScrubRules()
    leaks: list[Leak] = []
    open_texts = []
    for leaf in leaves(scrubbed.messages):
        if rules.treatment(leaf.path) == "keep":
            open_texts.append(leaf.text)
            continue
        for item in detector.find(leaf.text, leaf.field):
            if not known.covers(leaf.text, item.start, item.end):
                leaks.append(Leak(scope, item.kind, leaf.field))
    for key in keys(scrubbed.messages):
        leaks += [
            Leak(scope, item.kind, "") for item in detector.find(key) if not known.covers(key, item.start, item.end)
        ]
    text = json.dumps([_spoken(message) for message in scrubbed.messages], ensure_ascii=False)
    leaks += _originals(scope, scrubbed, text, open_texts)
    seen = {leak.kind for leak in leaks}
    return leaks + [leak for leak in _sure(scope, text, detector, known, open_texts) if leak.kind not in seen]


class _Known:
    """The values that may stand in a scrubbed text: what was issued, and what is kept."""

    def __init__(self, scrubbed: Scrubbed, kept: Iterable[str]) -> None:
        issued = {value.lower() for value in scrubbed.exchanged.values() if len(value) > 1}
        self._digits = {found for value in issued if len(found := _digits(value)) >= 7}
        self._harmless = {value.lower() for value in kept}
        self._words = {word for value in issued for word in value.split() if len(word) > 2} | issued
        self._issued = issued

    def covers(self, text: str, start: int, end: int) -> bool:
        """Whether a finding is kept, issued, or shares its place with a stand-in: recognisers take neighbours along."""
        value = text[start:end].lower()
        digits = _digits(value)
        if value in self._harmless or value in self._words or (len(digits) >= 7 and digits in self._digits):
            return True
        around = text[max(0, start - 60) : end + 60].lower()
        low, high = min(60, start), min(60, start) + end - start
        return any(
            match.start() < high and match.end() > low
            for stand_in in self._issued
            if stand_in in around
            for match in re.finditer(re.escape(stand_in), around)
        )


def _originals(scope: str, scrubbed: Scrubbed, text: str, open_texts: Sequence[str]) -> list[Leak]:
    lowered = text.lower()
    # What may stay may stand in a field that is kept, and nowhere else.
    allowed = "\n".join(open_texts).lower()
    leaks = []
    for value, stand_in in scrubbed.exchanged.items():
        where, wanted = (text, value) if value in scrubbed.cased else (lowered, value.lower())
        if wanted == stand_in or wanted in allowed or (wanted not in where and len(_digits(value)) < 9):
            continue
        pattern = rf"(?<!\w){re.escape(wanted)}(?!\w)"
        found = (match.start() for match in re.finditer(pattern, where))
        if any(value not in scrubbed.cased or not in_a_place(where, at) for at in found) or _digits_left(
            value, lowered
        ):
            leaks.append(Leak(scope, "original", ""))
    return leaks


def _sure(scope: str, text: str, detector: Detector, known: _Known, open_texts: Sequence[str]) -> list[Leak]:
    allowed = "\n".join(open_texts)
    return [
        Leak(scope, kind, "")
        for kind, pattern in _SURE.items()
        for match in pattern.finditer(text)
        if _checked(kind, match.group())
        and not known.covers(text, match.start(), match.end())
        and match.group() not in allowed
        and not detector.allows(kind, match.group())
    ]


def _checked(kind: str, value: str) -> bool:
    """Whether the check digits fit, where a kind has some."""
    if kind == "CREDIT_CARD":
        digits = _digits(value)
        return _CARD_HEADS.fullmatch(digits) is not None and luhn(digits[:-1]) == digits[-1]
    if kind == "IBAN_CODE":
        plain = value.replace(" ", "")
        return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1
    return True


def _spoken(message: Message) -> Message:
    return {key: value for key, value in message.items() if key not in ("role", "tool_call_id")}


def _digits_left(value: str, text: str) -> bool:
    """Whether a number stands in the text, however it is spaced."""
    digits = _digits(value)
    if len(digits) < 9 or re.search(r"[^\W\d_]", value):
        return False
    return re.search(r"(?<!\d)" + r"[ ().\-/]{0,2}".join(digits) + r"(?!\d)", text) is not None


def _digits(value: str) -> str:
    return re.sub(r"\D", "", value)


def require_clean(leaks: Sequence[Leak]) -> None:
    """Raises PersonalDataLeft when there is any leak."""
    if leaks:
        raise PersonalDataLeft(leaks)
