"""Putting stand-ins in the place of values, wherever in a trajectory these stand and however they are written.

A value that was found once is exchanged everywhere, in any case of its letters; a number also where it is written
without its marks. A single name is exchanged only as it is written (`Mark` is a person, `mark` is not), and the parts
of a whole name also alone (`Keller`), if they mean the person there.
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache

from .name_words import ALSO_WORDS, NO_NAMES
from .surrogates import Surrogates

_LEAST_DIGITS = 9
"""Numbers of at least so many digits are also exchanged without their marks."""
_PLACE = re.compile(r"(?<!\w)(?:San|Santa|Santo|Saint|St\.?|Fort|Port|New|Lake|Mount|Los|Las|Puerto)[ ]$")
_ADDRESSED = re.compile(r"(?:,|(?<!\w)(?:Hi|Hey|Hello|Dear|Thanks|Mr\.|Ms\.|Mrs\.|Dr\.))[ ]$")


class Exchange:
    """Stand-ins by value for one trajectory. `kinds`: the values and their kinds. `hashed`: those that get a keyed
    hash. `local`: those that are exchanged only where a field's rule asks for it."""

    def __init__(
        self,
        kinds: Mapping[str, str],
        surrogates: Surrogates,
        hashed: Collection[str] = (),
        local: Collection[str] = (),
    ) -> None:
        named = {value: kind for value, kind in kinds.items() if value not in hashed}
        given = surrogates.assign(named) | {value: surrogates.hashed(value) for value in hashed}
        self.given = given
        """Stand-in by value."""
        exact: dict[str, str] = {}
        parts: dict[str, str] = {}
        for value, stand_in in given.items():
            if value in local:
                continue
            exact[value] = stand_in
            if kinds.get(value) == "PERSON":
                parts |= {piece: new for piece, new in name_parts(value, stand_in) if piece not in given}
        for value, stand_in in list(exact.items()):
            bare, bare_stand_in = re.sub(r"\D", "", value), re.sub(r"\D", "", stand_in)
            numeric = not re.search(r"[^\W\d_]", value) and len(bare) >= _LEAST_DIGITS
            if numeric and len(bare) == len(bare_stand_in):
                exact.setdefault(bare, bare_stand_in)
        self._exact = exact | parts
        self._parts = frozenset(parts)
        self.cased = frozenset(value for value in self._exact if is_cased(value, kinds.get(value, "PERSON")))
        """Values that count only as they are written."""
        self._loose = {value.lower(): stand_in for value, stand_in in self._exact.items() if value not in self.cased}

    def __call__(self, text: str) -> str:
        """The text with all values exchanged, the longest first."""
        lowered = text.lower()
        there = [value for value in self._exact if value.lower() in lowered]
        if not there:
            return text
        pattern = _alternatives(tuple(sorted(there, key=lambda value: (-len(value), value))))
        return pattern.sub(self._stand_in, text)

    def whole(self, text: str) -> str:
        """A text that is one value as a whole; its stand-in."""
        value = text.strip()
        return text.replace(value, self.given[value]) if value in self.given else self(text)

    def _stand_in(self, match: re.Match[str]) -> str:
        found = match.group()
        if found in self.cased and in_a_place(match.string, match.start()):
            return found
        if found in self._parts and found.lower() in ALSO_WORDS and not _is_addressed(match):
            return found
        return self._exact.get(found) or self._loose.get(found.lower()) or found


def in_a_place(text: str, start: int) -> bool:
    """Whether the name that begins there belongs to that of a place, as `Antonio` in `San Antonio`."""
    return _PLACE.search(text[max(0, start - 10) : start]) is not None


def _is_addressed(match: re.Match[str]) -> bool:
    """Whether somebody is spoken to: `Thanks, Mark.` but not `Mark the file`."""
    before, after = match.string[max(0, match.start() - 10) : match.start()], match.string[match.end() :][:1]
    return _ADDRESSED.search(before) is not None and after in ("", ".", ",", "!", "?", "\n")


@lru_cache(maxsize=4096)
def _alternatives(values: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, values))})(?!\w)", re.IGNORECASE)


def is_cased(value: str, kind: str) -> bool:
    """Whether a value counts only as it is written: single words that are names."""
    return kind == "PERSON" and re.fullmatch(r"[^\W\d_]+", value) is not None


def name_parts(name: str, stand_in: str) -> list[tuple[str, str]]:
    """The words of a name that stand for the person alone, with theirs."""
    old, new = name.split(), stand_in.split()
    if len(old) < 2 or len(old) != len(new):
        return []
    return [
        (was, now)
        for was, now in zip(old, new, strict=True)
        if len(was) > 2 and was[0].isupper() and was.isalpha() and was.lower() not in NO_NAMES
    ]
