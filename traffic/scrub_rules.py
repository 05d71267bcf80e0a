"""What is done with personal values before anything is learnt: the policy, without the finding of them.

It is read by distillation and by the dashboard's preview, so it stands on the ground floor. A field is a key in a
message, in a tool's arguments or in a JSON result. What holds for a field holds for all that is inside it, unless a
field further inside has a rule of its own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal

from .errors import BadInput

Treatment = Literal["keep", "scrub", "drop", "hash"]


@dataclass(frozen=True)
class RecogniserRule:
    """Values of one more kind, by their form."""

    pattern: str
    """Regular expression of a whole value, without anchors."""
    context: tuple[str, ...] = ()
    """Words of which one must stand in the 40 characters before the value, or in the name of its field; none: the form
    is enough."""


@dataclass(frozen=True)
class ScrubRules:
    """Which values are personal, and what becomes of them."""

    fields: dict[str, Treatment] = field(default_factory=dict)
    """What becomes of a field's values, by its name (patterns with `*` and `?`; upper and lower case are one): `keep`
    leaves them, `scrub` exchanges the whole value whatever it looks like, `drop` leaves an empty value of the same
    type, `hash` puts a keyed hash there that is the same in all sessions. Other fields: what recognisers find."""
    allow: tuple[str, ...] = ()
    """Regular expressions of whole values that are never exchanged, beside those for order numbers."""
    deny: tuple[str, ...] = ()
    """Words and phrases that are always exchanged, whatever they look like; they beat `allow`."""
    ignore: tuple[str, ...] = ()
    """Kinds that are not looked for, such as `IP_ADDRESS`."""
    languages: tuple[str, ...] = ("en",)
    """Languages of the texts, two letters each: they choose Presidio's national recognisers, the words that introduce
    names, and the spaCy models that are used where they are installed."""
    models: tuple[str, ...] = ()
    """spaCy models to find people with; empty: the largest installed one of each language, or none."""
    recognisers: dict[str, RecogniserRule] = field(default_factory=dict)
    """More kinds, by name: `[scrub.recognisers.PATIENT_ID]` with `pattern` and `context`."""

    def checked(self) -> "ScrubRules":
        """Itself. Raises BadInput for an expression that cannot be compiled or a name that cannot be."""
        patterns = {f"scrub.allow[{at}]": pattern for at, pattern in enumerate(self.allow)}
        patterns |= {f"scrub.recognisers.{name}.pattern": rule.pattern for name, rule in self.recognisers.items()}
        for setting, pattern in patterns.items():
            try:
                matches_nothing = re.compile(pattern).fullmatch("")
            except re.error as error:
                raise BadInput(f"{setting} is no regular expression: {error}. Correct {pattern!r}.") from error
            if matches_nothing:
                raise BadInput(f"{setting} ({pattern!r}) fits the empty text. Write what a whole value looks like.")
        for language in self.languages:
            if not re.fullmatch(r"[a-z]{2}", language):
                raise BadInput(f"scrub.languages holds {language!r}; expected two letters, such as 'en' or 'de'.")
        if not all(word.strip() for word in self.deny):
            raise BadInput("scrub.deny holds an empty text. Give words or phrases to exchange.")
        return self

    def treatment(self, path: Sequence[str]) -> Treatment | None:
        """What is said about the value under these keys, outermost first; the innermost rule counts."""
        if not self.fields:
            return None
        for name in reversed(path):
            found = self._exact.get(name.lower())
            if found:
                return found
            for pattern, treatment in self._patterns:
                if fnmatchcase(name.lower(), pattern):
                    return treatment
        return None

    @cached_property
    def _exact(self) -> dict[str, Treatment]:
        return {name.lower(): how for name, how in self.fields.items() if not set(name) & set("*?[")}

    @cached_property
    def _patterns(self) -> list[tuple[str, Treatment]]:
        return [(name.lower(), how) for name, how in self.fields.items() if set(name) & set("*?[")]
