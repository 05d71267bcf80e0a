"""Realistic stand-ins of the same form for personal values.

`anna.keller@web.de` becomes another name at another host, `(212) 555-0188` another number written the same way, a card
number another one with a right check digit. The student thus learns from text that looks like the real thing and never
learns to say `<PERSON>`.

A stand-in is a pure function of (key, scope, kind, normalised value): inside one scope, a trajectory, the same value
gets the same stand-in however it is written, in the prompt, in arguments and in results; in another trajectory it gets
another one, so stand-ins cannot be joined across sessions. Without the key nobody can tell what stood there.
"""

import hashlib
import hmac
import re
import string
from functools import lru_cache

from ..traffic.errors import MissingExtra

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
_NATIONAL = 10
"""Digits of a phone number that are exchanged; what stands before them is a country code."""


class Surrogates:
    """Stand-ins inside one scope."""

    def __init__(self, key: bytes, scope: str) -> None:
        self._key = hashlib.sha256(key + b"\0surrogates v1\0" + scope.encode()).digest()

    def of(self, kind: str, value: str) -> str:
        """The stand-in for `value`; `kind` is Presidio's entity name. Never the value itself."""
        make = _MAKERS.get(kind, Surrogates._same_shape)
        for attempt in range(8):
            found = make(self, value, attempt)
            if found.lower() != value.lower():
                return found
        return self._same_shape(value, 8)

    def _stream(self, kind: str, normal: str, attempt: int) -> "_Stream":
        text = f"{kind}\0{attempt}\0{normal}".encode()
        return _Stream(hmac.digest(self._key, text, "sha256"))

    def _email(self, value: str, attempt: int) -> str:
        local, _, host = value.rpartition("@")
        return f"{self._words(local, attempt)}@{self._host(host, attempt)}"

    def _person(self, value: str, attempt: int) -> str:
        return self._words(value, attempt)

    def _words(self, value: str, attempt: int) -> str:
        """Exchange each run of letters for a name, and each run of digits for another."""
        pieces = re.findall(r"[^\W\d_]+|\d+|[\W_]+", value)
        last = max((place for place, piece in enumerate(pieces) if piece.isalpha()), default=0)
        return "".join(
            self._name(piece, place == last and place > 0, attempt) if piece.isalpha() else self._digits(piece, attempt)
            for place, piece in enumerate(pieces)
        )

    def _name(self, word: str, surname: bool, attempt: int) -> str:
        stream = self._stream("name", word.lower(), attempt)
        if len(word) == 1:
            return _cased_like(stream.pick(string.ascii_lowercase), word)
        return _cased_like(stream.pick(_names()[surname]), word)

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
        return _refill(value, fresh)

    def _card(self, value: str, attempt: int) -> str:
        digits = re.sub(r"\D", "", value)
        stream = self._stream("card", digits, attempt)
        body = digits[:1] + "".join(stream.digit() for _ in digits[1:-1])
        return _refill(value, body + _luhn(body))

    def _iban(self, value: str, attempt: int) -> str:
        plain = re.sub(r"\W", "", value).upper()
        stream = self._stream("iban", plain, attempt)
        body = "".join(stream.digit() if char.isdigit() else char for char in plain[4:])
        number = "".join(str(int(char, 36)) for char in body + plain[:2] + "00")
        return _refill(value, f"{plain[:2]}{98 - int(number) % 97:02d}{body}")

    def _ip(self, value: str, attempt: int) -> str:
        if ":" in value:
            return self._same_shape(value, attempt)
        stream = self._stream("ip", value, attempt)
        return ".".join([value.split(".")[0], *(str(stream.number(1, 255)) for _ in range(3))])

    def _same_shape(self, value: str, attempt: int) -> str:
        """Digits for digits, letters for letters (hexadecimal ones stay so), the rest as it is."""
        normal = re.sub(r"\W", "", value).lower()
        stream = self._stream("shape", normal, attempt)
        hexadecimal = all(char in string.hexdigits for char in normal)
        letters = "abcdef" if hexadecimal else string.ascii_lowercase
        return "".join(
            stream.digit() if char.isdigit() else _cased_like(stream.pick(letters), char) if char.isalpha() else char
            for char in value
        )


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
    "PERSON": Surrogates._person,
    "PHONE_NUMBER": Surrogates._phone,
    "CREDIT_CARD": Surrogates._card,
    "IBAN_CODE": Surrogates._iban,
    "IP_ADDRESS": Surrogates._ip,
}


def _nonzero(stream: _Stream) -> str:
    return str(stream.number(1, 10))


def _luhn(body: str) -> str:
    """Check digit of a card number (ISO/IEC 7812-1)."""
    total = 0
    for place, char in enumerate(reversed(body)):
        digit = int(char) * (2 if place % 2 == 0 else 1)
        total += digit - 9 if digit > 9 else digit
    return str(-total % 10)


def _refill(form: str, characters: str) -> str:
    """`form` with its letters and digits exchanged, in order, for `characters`; spaces and marks stay."""
    fresh = iter(characters)
    return "".join(_cased_like(next(fresh), char) if char.isalnum() else char for char in form)


def _cased_like(word: str, form: str) -> str:
    if form.isupper() and (len(form) > 1 or len(word) == 1):
        return word.upper()
    return word.capitalize() if form[:1].isupper() else word.lower()


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
