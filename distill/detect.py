"""Finding personal values in a text.

Finding is Presidio's work where it has a recogniser: its rule recognisers are called one by one, each behind a cheap
test of its own, without a language model, so a message costs a fraction of a millisecond. They fire on much that is no
personal value (any ten digits may be a phone number), so each finding is judged by its score, its form and the name of
the field it stands in. Beside them stand names of people (`people`), values that their field or label makes personal
(`labelled`), and what the rules of the user add.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ..traffic.errors import MissingExtra
from ..traffic.scrub_rules import RecogniserRule, ScrubRules
from . import labelled, people
from .findings import Finding, Recogniser

ORDER_IDS = (r"#?[A-Z]{1,5}-?\d{3,12}", r"#\d{3,12}", r"[A-Z]{2,5}(-[A-Z0-9]{2,12}){1,4}")
"""Order numbers and the like (`#W1234567`, `ORD-4711`): business keys that the student must copy."""
_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
DENIED = "DENIED"
"""The kind of what the rules always exchange."""
_DOUBTED = frozenset(
    (
        "PHONE_NUMBER",
        "CREDIT_CARD",
        "IBAN_CODE",
        "US_SSN",
        "US_ITIN",
        "IP_ADDRESS",
        "MAC_ADDRESS",
        "CRYPTO",
        "USER_NAME",
    )
)
"""Kinds that are not believed where a value looks like an order number. Of others a label, a check digit or the user's
own rule says what they are."""
_CONTEXT = 40
"""Characters before a value in which a word may say what it is."""


class _Source(NamedTuple):
    """One of Presidio's recognisers."""

    name: str
    least: float
    """Scores below this are not believed."""
    needs: str
    """What a text must hold for the recogniser to be asked at all."""


_SOURCES = (
    _Source("EmailRecognizer", 0.5, r"@"),
    _Source("CreditCardRecognizer", 0.5, r"(?:\d[ -]?){12}"),
    _Source("IbanRecognizer", 0.5, r"(?i:[a-z]{2})\d{2}[ ]?\w{4}"),
    _Source("UsSsnRecognizer", 0.5, r"\d{3}[- .]\d{2}[- .]\d{4}|\d{9}"),
    _Source("UsItinRecognizer", 0.3, r"9\d\d[- ]?\d{2}[- ]?\d{4}"),
    _Source("IpRecognizer", 0.6, r"\d\.\d{1,3}\.\d{1,3}\.\d|[0-9a-fA-F]{0,4}:[0-9a-fA-F]{0,4}:[0-9a-fA-F:]{2,}"),
    _Source("MacAddressRecognizer", 0.5, r"[0-9a-fA-F]{2}[:-][0-9a-fA-F]{2}[:-]|[0-9a-fA-F]{4}\.[0-9a-fA-F]{4}\."),
    _Source("CryptoRecognizer", 0.5, r"(?<!\w)(?:[13]|bc1)[A-Za-z0-9]{24}"),
)
"""Dates, UUIDs, URLs and bare-number recognisers (licence, passport, bank) are not used: what they find in tool traffic
is nearly always data that the task is about."""
_RANK = {DENIED: 9, "EMAIL_ADDRESS": 5, "IBAN_CODE": 4, "SECRET": 4, "CREDIT_CARD": 3, "US_SSN": 3, "USER_NAME": 0}
_RANK |= {"PHONE_NUMBER": -1, "POSTAL_CODE": -1}
_PHONE_FIELD = re.compile(r"phone|mobile|\btel|fax|whatsapp|call\s*(me|us)|\bcell\b|_cell|text\s*me", re.IGNORECASE)
_SURE_PHONE = re.compile(r"\+\d|\(\d{2,5}\)\s*\d|\d{3}[-. ]\d{3}[-. ]\d{4}(?!\d)")
_PHONE_SHAPE = re.compile(r"(?<![\w.,:/#-])(?:\+\d|\(\d{2,5}\)|\d)(?:[ ().\-/]{0,2}\d){6,14}(?![\w-])")
_DIGIT = re.compile(r"\d")
_DATE_LIKE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}")


class Detector:
    """Finds personal values. `allow`: regular expressions of whole values that are none; `deny`: words that always are;
    `ignore`: kinds that are not looked for. The same text under the same field always gives the same findings."""

    def __init__(
        self,
        recognisers: Sequence[Recogniser],
        allow: Sequence[str] = (),
        *,
        deny: Sequence[str] = (),
        ignore: Sequence[str] = (),
    ) -> None:
        self._recognisers = list(recognisers)
        self._allow = re.compile("|".join(f"(?:{pattern})" for pattern in allow)) if allow else None
        self._order = re.compile("|".join(f"(?:{pattern})" for pattern in (*ORDER_IDS, _UUID)))
        words = sorted(deny, key=len, reverse=True)
        self._deny = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)", re.IGNORECASE) if deny else None
        self._ignore = frozenset(ignore)
        self._cache: dict[tuple[str, str], list[Finding]] = {}

    def find(self, text: str, field_name: str = "") -> list[Finding]:
        """Findings without overlaps, in order. `field_name`: the key that a JSON string stands under."""
        known = self._cache.get((text, field_name))
        if known is None:
            if len(self._cache) >= 50_000:
                self._cache.clear()
            known = self._cache[text, field_name] = self._find(text, field_name)
        return known

    def allows(self, kind: str, value: str) -> bool:
        """Whether the rules let a value of this kind stay."""
        return kind in self._ignore or bool(self._allow and self._allow.fullmatch(value))

    def _find(self, text: str, field_name: str) -> list[Finding]:
        found = [item for recognise in self._recognisers for item in recognise(text)]
        if field_name and (whole := labelled.of_field(text, field_name)):
            found.append(whole)
        believed = [item for item in found if self._believed(item, text, field_name)]
        if self._deny:
            believed += [Finding(DENIED, match.start(), match.end(), 1.0) for match in self._deny.finditer(text)]
        believed.sort(key=lambda item: (-_RANK.get(item.kind, 1), item.start - item.end, item.start))
        chosen: list[Finding] = []
        for item in believed:
            if all(item.end <= other.start or item.start >= other.end for other in chosen):
                chosen.append(item)
        return sorted(chosen, key=lambda item: item.start)

    def _believed(self, item: Finding, text: str, field_name: str) -> bool:
        value = text[item.start : item.end]
        if self.allows(item.kind, value) or self.allows(item.kind, _whole_word(text, item)):
            return False
        if item.kind not in _DOUBTED:
            return True
        if self._order.fullmatch(value) or self._order.fullmatch(_whole_word(text, item)):
            return False
        return item.kind != "PHONE_NUMBER" or _is_phone(text, item.start, item.end, field_name)


def _is_phone(text: str, start: int, end: int, field_name: str = "") -> bool:
    value = text[start:end]
    if _DATE_LIKE.search(value):
        return False
    before = text[max(0, start - 24) : start]
    return bool(_SURE_PHONE.match(value) or _PHONE_FIELD.search(field_name) or _PHONE_FIELD.search(before))


def _whole_word(text: str, item: Finding) -> str:
    """The finding with the letters, digits, `#` and `-` that touch it: `1234567890` in `#W1234567890` is no number."""
    start, end = item.start, item.end
    while start and (text[start - 1].isalnum() or text[start - 1] in "#-_"):
        start -= 1
    while end < len(text) and (text[end].isalnum() or text[end] in "-_"):
        end += 1
    return text[start:end]


def presidio_detector(rules: ScrubRules | Sequence[str] = ()) -> tuple[Detector, bool]:
    """The detector over Presidio's recognisers, and whether a language model looks for people's names.

    `rules`: the policy, or only what it allows. Raises MissingExtra, BadInput for rules that cannot be."""
    rules = (rules if isinstance(rules, ScrubRules) else ScrubRules(allow=tuple(rules))).checked()
    predefined = _presidio()
    recognisers = [_wrapped(getattr(predefined, source.name)(), source.least, source.needs) for source in _SOURCES]
    recognisers.append(_phones(predefined.PhoneRecognizer()))
    recognisers += [_national(one) for language in rules.languages for one in _recognisers_of(language)]
    recognisers += [labelled.in_text(), people.by_rules(rules.languages)]
    recognisers += [_custom(kind, rule) for kind, rule in rules.recognisers.items()]
    model = people.by_model(rules.languages, rules.models)
    recognisers += [model] if model else []
    return Detector(recognisers, rules.allow, deny=rules.deny, ignore=rules.ignore), model is not None


@lru_cache(maxsize=1)
def _presidio() -> Any:
    """Presidio's recognisers; once, for the table of public suffixes takes a third of a second to build."""
    try:
        import presidio_analyzer.predefined_recognizers as predefined
        import tldextract
    except ImportError as error:
        raise MissingExtra("distill", error.name or "presidio-analyzer") from error
    # The e-mail recogniser would fetch the list of public suffixes over the network; the packaged copy will do.
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    return predefined


def _wrapped(recogniser: Any, least: float, needs: str) -> Recogniser:
    """A Presidio recogniser behind a filter."""
    entities, needed = recogniser.supported_entities, re.compile(needs)

    def recognise(text: str) -> Iterable[Finding]:
        if not needed.search(text):
            return []
        found = recogniser.analyze(text, entities, None) or []
        return [Finding(item.entity_type, item.start, item.end, item.score) for item in found if item.score >= least]

    return recognise


def _phones(recogniser: Any) -> Recogniser:
    """The phone recogniser, asked only about what would be believed: over a whole text it is the slowest of all."""

    def recognise(text: str) -> Iterable[Finding]:
        for match in _PHONE_SHAPE.finditer(text):
            known_field = len(text) <= match.end() - match.start() + 2
            if known_field or _is_phone(text, match.start(), match.end()):
                for item in recogniser.analyze(match.group(), ["PHONE_NUMBER"], None) or []:
                    yield Finding("PHONE_NUMBER", match.start() + item.start, match.start() + item.end, item.score)

    return recognise


@lru_cache(maxsize=8)
def _recognisers_of(language: str) -> tuple[Any, ...]:
    """Presidio's national recognisers of a language; those for English are chosen by hand above."""
    predefined = _presidio()
    if language == "en":
        return (predefined.UkNinoRecognizer(),)
    classes = [getattr(predefined, name) for name in dir(predefined) if name.endswith("Recognizer")]
    national = [one() for one in classes if "country_specific" in one.__module__]
    return tuple(one for one in national if one.supported_language == language)


def _national(recogniser: Any) -> Recogniser:
    """A national recogniser: believed where Presidio gives a high score, for a check digit that fits or a form of its
    own, or where one of its own context words stands before the value."""
    words = [word for word in recogniser.context or () if len(word) > 2]
    near = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})", re.IGNORECASE) if words else None
    entities = recogniser.supported_entities

    def recognise(text: str) -> Iterable[Finding]:
        if not _DIGIT.search(text):
            return
        for item in recogniser.analyze(text, entities, None) or []:
            before = text[max(0, item.start - _CONTEXT) : item.start]
            if item.score >= 0.85 or (item.score >= 0.05 and near and near.search(before)):
                yield Finding(item.entity_type, item.start, item.end, item.score)

    return recognise


def _custom(kind: str, rule: RecogniserRule) -> Recogniser:
    pattern = re.compile(rf"(?<!\w)(?:{rule.pattern})(?!\w)")
    words = "|".join(map(re.escape, rule.context))
    near = re.compile(rf"(?<!\w)(?:{words})", re.IGNORECASE) if words else None

    def recognise(text: str) -> Iterable[Finding]:
        for match in pattern.finditer(text):
            if near is None or near.search(text[max(0, match.start() - _CONTEXT) : match.start()]):
                yield Finding(kind, match.start(), match.end(), 0.9)

    return recognise
