"""What a recogniser says: the form that all of them share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One personal value in a text."""

    kind: str
    """Name of the entity in Presidio's way, such as `EMAIL_ADDRESS`."""
    start: int
    end: int
    score: float


Recogniser = Callable[[str], Iterable[Finding]]
