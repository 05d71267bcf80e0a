"""Realistic stand-ins of the same form for personal values.

`anna.keller@web.de` becomes another name at another host, `(212) 555-0188` another number written the same way, a card
number another one with a right check digit. The student thus learns from text that looks like the real thing and never
learns to say `<PERSON>`.

A stand-in is a function of (key, scope, kind, normalised value): inside one scope, a trajectory, the same value gets
the same stand-in however it is written, in the prompt, in arguments and in results; in another trajectory it gets
another one, so stand-ins cannot be joined across sessions. Without the key nobody can tell what stood there. Two
different values of a scope never share a stand-in (`assign`): calls that differed still differ.
"""

import hashlib
import hmac
import re
import string
from collections.abc import Collection, Mapping
from functools import lru_cache

from ..traffic.errors import MissingExtra
from .forms import PUBLIC_HOSTS, base58check, cased_like, date_like, folded, is_base58, luhn, refill

_NATIONAL = 10
"""Digits of a phone number that are exchanged; what stands before them is a country code."""
_ATTEMPTS = 32
_SECRET_HEAD = re.compile(r"(?:sk|pk|rk)[-_](?:live_|test_|proj-|ant-)?|gh[pousr]_|AKIA|ASIA|xox[abprs]-|AIza|eyJ")
_STREET_WORDS = re.compile(
    r"(?i)street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|place|pl|terrace|parkway|pkwy|square|way"
    r"|highway|hwy|circle|trail|crescent|close|row|apt|apartment|suite|unit|flat|north|south|east|west|rue|via|calle"
    r"|avenida|rua|del"
)
_STREET_ENDS = re.compile(r"(?i)(straße|strasse|str|gasse|allee|weg|platz)$")


class Surrogates:
    """Stand-ins inside one scope."""

    def __init__(self, key: bytes, scope: str) -> None:
        self._key = hashlib.sha256(key + b"\0surrogates v1\0" + scope.encode()).digest()
        self._across = hashlib.sha256(key + b"\0hashes v1\0").digest()
        self._known: dict[str, str] = {}
        """Stand-in by word of the names that were given out: `Keller` alone is the Keller of `Anna Keller`."""
        self._joined: dict[str, str] = {}
        """The same for a name written as one word, as in addresses: `akeller`, `annakeller`."""

    def of(self, kind: str, value: str) -> str:
        """The stand-in for `value`; `kind` is the entity's name. Never the value itself."""
        return self._make(kind, value, ())

    def assign(self, kinds: Mapping[str, str]) -> dict[str, str]:
        """Stand-ins for all values of a scope, given by their kinds: no two alike, and none of them a value.

        Names come first, then what is made of them; the order of `kinds` does not matter."""
        values = {_normal(value) for value in kinds}
        owners: dict[str, str] = {}
        given: dict[str, str] = {}
        for value in sorted(kinds, key=lambda one: (kinds[one] != "PERSON", -len(one), one)):
            normal = _normal(value)
            refused = values | {stand_in for stand_in, owner in owners.items() if owner != normal}
            given[value] = self._make(kinds[value], value, refused)
            owners[_normal(given[value])] = normal
        return given

    def hashed(self, value: str) -> str:
        """A keyed hash that is the same in all scopes: digits for a number, else 16 hexadecimal characters."""
        found = hmac.digest(self._across, value.encode(), "sha256")
        if not (value.isascii() and value.isdigit()):
            return found.hex()[:16]
        stream = _Stream(found)
        return _nonzero(stream) + "".join(stream.digit() for _ in value[1:])

    def _make(self, kind: str, value: str, refused: Collection[str]) -> str:
        make = _MAKERS.get(kind, Surrogates._same_shape)
        for attempt in range(_ATTEMPTS):
            found = make(self, value, attempt)
            if found.lower() != value.lower() and _normal(found) not in refused:
                break
        else:
            found = self._same_shape(value, _ATTEMPTS)
        if kind == "PERSON":
            self._remember(value, found)
        return found

    def _remember(self, name: str, stand_in: str) -> None:
        old, new = (re.findall(r"[^\W\d_]+", folded(text)) for text in (name, stand_in))
        if len(old) != len(new):
            return
        for was, now in zip(old, new, strict=True):
            if len(was) > 1:
                self._known.setdefault(was, now)
        if len(old) > 1:
            first, last, new_first, new_last = old[0], old[-1], new[0], new[-1]
            for was, now in (
                (first + last, new_first + new_last),
                (last + first, new_last + new_first),
                (first[0] + last, new_first[0] + new_last),
                (first + last[0], new_first + new_last[0]),
                (last + first[0], new_last + new_first[0]),
            ):
                self._joined.setdefault(was, now)

    def _stream(self, kind: str, normal: str, attempt: int) -> "_Stream":
        text = f"{kind}\0{attempt}\0{normal}".encode()
        return _Stream(hmac.digest(self._key, text, "sha256"))

    def _email(self, value: str, attempt: int) -> str:
        local, _, host = value.rpartition("@")
        return f"{self._words(local, attempt)}@{self._host(host, attempt)}"

    def _words(self, value: str, attempt: int) -> str:
        """Exchange each run of letters for a name, and each run of digits for another."""
        pieces = re.findall(r"[^\W\d_]+|\d+|[\W_]+", value)
        last = max((place for place, piece in enumerate(pieces) if piece.isalpha()), default=0)
        own = {folded(piece) for piece in pieces}
        return "".join(
            self._name(piece, place == last and place > 0, attempt, own)
            if piece.isalpha()
            else self._digits(piece, attempt)
            for place, piece in enumerate(pieces)
        )

    def _name(self, word: str, surname: bool, attempt: int, own: Collection[str]) -> str:
        low = folded(word)
        known = self._known.get(low) or self._joined.get(low)
        if known and not attempt:
            return cased_like(known, word)
        stream = self._stream("name", low, attempt)
        if len(word) == 1:
            return cased_like(stream.pick(string.ascii_lowercase), word)
        found = word
        while folded(found) in own:
            found = stream.pick(_names()[surname])
        return cased_like(found, word)

    def _host(self, host: str, attempt: int) -> str:
        if host.lower() in PUBLIC_HOSTS:
            return host
        labels = host.split(".")
        for place in range(len(labels) - 1):
            if len(labels[place]) > 3:
                labels[place] = self._stream("host", labels[place].lower(), attempt).pick(_names()[1]).lower()
        return ".".join(labels)

    def _digits(self, text: str, attempt: int) -> str:
        stream = self._stream("digits", text, attempt)
        return "".join(stream.digit() if char.isdigit() else char for char in text)

    def _phone(self, value: str, attempt: int) -> str:
        digits = re.sub(r"\D", "", value)
        kept, national = digits[:-_NATIONAL], digits[-_NATIONAL:]
        if value.startswith("+") and not kept:
            kept, national = national[:2], national[2:]
        stream = self._stream("phone", national, attempt)
        # First digits tell area and kind of number from one another: an even exchange keeps them valid.
        fresh = kept + national[:1] + "".join(_nonzero(stream) for _ in national[1:])
        return refill(value, fresh)

    def _card(self, value: str, attempt: int) -> str:
        digits = re.sub(r"\D", "", value)
        stream = self._stream("card", digits, attempt)
        body = digits[:1] + "".join(stream.digit() for _ in digits[1:-1])
        return refill(value, body + luhn(body))

    def _iban(self, value: str, attempt: int) -> str:
        plain = re.sub(r"\W", "", value).upper()
        stream = self._stream("iban", plain, attempt)
        body = "".join(stream.digit() if char.isdigit() else char for char in plain[4:])
        number = "".join(str(int(char, 36)) for char in body + plain[:2] + "00")
        return refill(value, f"{plain[:2]}{98 - int(number) % 97:02d}{body}")

    def _ip(self, value: str, attempt: int) -> str:
        if ":" in value:
            return self._same_shape(value, attempt)
        stream = self._stream("ip", value, attempt)
        address, mark, bits = value.partition("/")
        return ".".join([address.split(".")[0], *(str(stream.number(1, 255)) for _ in range(3))]) + mark + bits

    def _wallet(self, value: str, attempt: int) -> str:
        if not is_base58(value):
            return value[:4] + self._same_shape(value[4:], attempt)
        stream = self._stream("wallet", value, attempt)
        version = b"\x05" if value[0] == "3" else b"\x00"
        return base58check(version + bytes(stream.number(0, 256) for _ in range(20)))

    def _date(self, value: str, attempt: int) -> str:
        stream = self._stream("date", value, attempt)
        return date_like(value, lambda low, high: stream.number(low, high)) or self._same_shape(value, attempt)

    def _street(self, value: str, attempt: int) -> str:
        def other(match: re.Match[str]) -> str:
            word = match.group()
            if word.isdigit():
                return _nonzero(self._stream("house", word, attempt)) + self._digits(word[1:], attempt)
            if _STREET_WORDS.fullmatch(word) or len(word) < 3:
                return word
            end = _STREET_ENDS.search(word)
            body = word[: end.start()] if end else word
            name = self._stream("street", body.lower(), attempt).pick(_names()[1]) if body else ""
            return cased_like(name, body) + (end.group() if end else "")

        return re.sub(r"[^\W\d_]+|\d+", other, value)

    def _secret(self, value: str, attempt: int) -> str:
        head = _SECRET_HEAD.match(value)
        kept = head.group() if head else ""
        return kept + self._same_shape(value[len(kept) :], attempt)

    def _same_shape(self, value: str, attempt: int) -> str:
        """Digits for digits, letters for letters (hexadecimal ones stay so), the rest as it is."""
        normal = re.sub(r"\W", "", value).lower()
        stream = self._stream("shape", normal or value, attempt)
        hexadecimal = all(char in string.hexdigits for char in normal)
        letters = "abcdef" if hexadecimal and any(char.isdigit() for char in normal) else string.ascii_lowercase
        return "".join(
            stream.digit() if char.isdigit() else cased_like(stream.pick(letters), char) if char.isalpha() else char
            for char in value
        )

    def _phrase(self, value: str, attempt: int) -> str:
        """Words for words, where a value has words; codes keep their shape."""
        if re.search(r"\d", value) or not re.search(r"[^\W\d_]{3}", value):
            return self._same_shape(value, attempt)
        return self._words(value, attempt)


class _Stream:
    """Numbers drawn from a seed, without end."""

    def __init__(self, seed: bytes) -> None:
        self._seed, self._count = seed, 0

    def number(self, low: int, high: int) -> int:
        """An integer of [low, high)."""
        self._count += 1
        block = hashlib.sha256(self._seed + self._count.to_bytes(4, "big")).digest()
        return low + int.from_bytes(block[:8], "big") % (high - low)

    def digit(self) -> str:
        return str(self.number(0, 10))

    def pick(self, options: "tuple[str, ...] | str") -> str:
        return options[self.number(0, len(options))]


_MAKERS = {
    "EMAIL_ADDRESS": Surrogates._email,
    "PERSON": Surrogates._words,
    "USER_NAME": Surrogates._words,
    "PHONE_NUMBER": Surrogates._phone,
    "CREDIT_CARD": Surrogates._card,
    "IBAN_CODE": Surrogates._iban,
    "IP_ADDRESS": Surrogates._ip,
    "CRYPTO": Surrogates._wallet,
    "DATE_OF_BIRTH": Surrogates._date,
    "STREET_ADDRESS": Surrogates._street,
    "SECRET": Surrogates._secret,
    "DENIED": Surrogates._phrase,
    "FIELD": Surrogates._phrase,
}


def _nonzero(stream: _Stream) -> str:
    return str(stream.number(1, 10))


def _normal(value: str) -> str:
    """What two spellings of a value share."""
    return re.sub(r"[\W_]", "", value).lower() or value


@lru_cache(maxsize=1)
def _names() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(first names, surnames), plain letters only, in a fixed order."""
    try:
        from faker.providers.person.en_US import Provider
    except ImportError as error:
        raise MissingExtra("distill", "faker") from error
    plain = re.compile(r"[A-Za-z]{3,9}")
    first = sorted({name for name in Provider.first_names if plain.fullmatch(name)})
    last = sorted({name for name in Provider.last_names if plain.fullmatch(name)})
    return tuple(first), tuple(last)
