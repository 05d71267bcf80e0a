"""Finding personal values in a text.

Finding is Presidio's work: its rule recognisers are called one by one, without a language model, so a message costs a
fraction of a millisecond. They fire on much that is no personal value (any ten digits may be a phone number), so each
finding is judged by its score, its form and the name of the field it stands in. People's names need a language model:
an installed `en_core_web_*` is used; without one, names stay, and the run's report says so.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..traffic.errors import MissingExtra

ORDER_IDS = (r"#?[A-Z]{1,5}-?\d{3,12}", r"#\d{3,12}", r"[A-Z]{2,5}(-[A-Z0-9]{2,12}){1,4}")
"""Order numbers and the like (`#W1234567`, `ORD-4711`): business keys that the student must copy."""

_RECOGNISERS: dict[str, float] = {
    "EmailRecognizer": 0.5,
    "PhoneRecognizer": 0.4,
    "CreditCardRecognizer": 0.5,
    "IbanRecognizer": 0.5,
    "UsSsnRecognizer": 0.5,
    "UsItinRecognizer": 0.3,
    "IpRecognizer": 0.6,
    "MacAddressRecognizer": 0.5,
    "CryptoRecognizer": 0.5,
}
"""Presidio's recognisers that are used, with the least score believed. Dates, UUIDs, URLs and bare-number recognisers
(licence, passport, bank) are not: what they find in tool traffic is nearly always data that the task is about."""
_RANK = {"EMAIL_ADDRESS": 3, "IBAN_CODE": 3, "CREDIT_CARD": 2, "US_SSN": 2, "PHONE_NUMBER": 0}
_PHONE_FIELD = re.compile(r"phone|mobile|\btel|fax|whatsapp|call\s*(me|us)|\bcell\b", re.IGNORECASE)
_SURE_PHONE = re.compile(r"\+\d|\(\d{2,5}\)\s*\d|\d{3}[-. ]\d{3}[-. ]\d{4}")
_DATE_LIKE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}")


@dataclass(frozen=True)
class Finding:
    """One personal value in a text."""

    kind: str
    """Presidio's entity name, such as `EMAIL_ADDRESS`."""
    start: int
    end: int
    score: float


Recogniser = Callable[[str], Iterable[Finding]]


class Detector:
    """Finds personal values. `allow`: regular expressions of whole values that are none."""

    def __init__(self, recognisers: Sequence[Recogniser], allow: Sequence[str] = ()) -> None:
        self._recognisers = list(recognisers)
        self._allow = re.compile("|".join(f"(?:{pattern})" for pattern in (*ORDER_IDS, *allow)))
        self._cache: dict[tuple[str, str], list[Finding]] = {}

    def find(self, text: str, field_name: str = "") -> list[Finding]:
        """Findings without overlaps, in order. `field_name`: the key that a JSON string stands under."""
        known = self._cache.get((text, field_name))
        if known is None:
            if len(self._cache) >= 50_000:
                self._cache.clear()
            known = self._cache[text, field_name] = self._find(text, field_name)
        return known

    def _find(self, text: str, field_name: str) -> list[Finding]:
        found = [item for recognise in self._recognisers for item in recognise(text)]
        believed = [item for item in found if self._believed(item, text, field_name)]
        believed.sort(key=lambda item: (-_RANK.get(item.kind, 1), item.start - item.end, item.start))
        chosen: list[Finding] = []
        for item in believed:
            if all(item.end <= other.start or item.start >= other.end for other in chosen):
                chosen.append(item)
        return sorted(chosen, key=lambda item: item.start)

    def _believed(self, item: Finding, text: str, field_name: str) -> bool:
        value = text[item.start : item.end]
        if self._allow.fullmatch(value) or self._allow.fullmatch(_whole_word(text, item)):
            return False
        if item.kind != "PHONE_NUMBER":
            return True
        if _DATE_LIKE.search(value):
            return False
        before = text[max(0, item.start - 24) : item.start]
        return bool(_SURE_PHONE.match(value) or _PHONE_FIELD.search(field_name) or _PHONE_FIELD.search(before))


def _whole_word(text: str, item: Finding) -> str:
    """The finding with the letters, digits, `#` and `-` that touch it: `1234567890` in `#W1234567890` is no number."""
    start, end = item.start, item.end
    while start and (text[start - 1].isalnum() or text[start - 1] in "#-_"):
        start -= 1
    while end < len(text) and (text[end].isalnum() or text[end] in "-_"):
        end += 1
    return text[start:end]


def presidio_detector(allow: Sequence[str] = ()) -> tuple[Detector, bool]:
    """The detector over Presidio's recognisers, and whether it knows people's names. Raises MissingExtra."""
    try:
        import presidio_analyzer.predefined_recognizers as predefined
        import tldextract
    except ImportError as error:
        raise MissingExtra("distill", error.name or "presidio-analyzer") from error
    # The e-mail recogniser would fetch the list of public suffixes over the network; the packaged copy will do.
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    recognisers = [_wrapped(getattr(predefined, name)(), least) for name, least in _RECOGNISERS.items()]
    names = people_recogniser()
    return Detector([*recognisers, *([names] if names else [])], allow), names is not None


def _wrapped(recogniser: Any, least: float) -> Recogniser:
    """A Presidio recogniser behind a filter: all but e-mails hold several digits or colons."""
    entities = recogniser.supported_entities
    needs = re.compile(r"@") if entities == ["EMAIL_ADDRESS"] else re.compile(r"\d.*\d.*\d|:.*:", re.DOTALL)
    if entities == ["CRYPTO"]:
        needs = re.compile(r"[A-Za-z0-9]{25}")

    def recognise(text: str) -> Iterable[Finding]:
        if not needs.search(text):
            return []
        found = recogniser.analyze(text, entities, None) or []
        return [Finding(item.entity_type, item.start, item.end, item.score) for item in found if item.score >= least]

    return recognise


def people_recogniser(
    load: Callable[[str], Any] | None = None, models: Sequence[str] | None = None
) -> Recogniser | None:
    """People's names by an installed `en_core_web_*` model, the largest there is; None without one."""
    import spacy

    installed = models if models is not None else spacy.util.get_installed_models()
    order = ("trf", "lg", "md", "sm")
    known = [f"en_core_web_{size}" for size in order if f"en_core_web_{size}" in installed]
    if not known:
        return None
    pipeline = (load or spacy.load)(known[0])

    def recognise(text: str) -> Iterable[Finding]:
        return [Finding("PERSON", e.start_char, e.end_char, 0.85) for e in pipeline(text).ents if e.label_ == "PERSON"]

    return recognise
