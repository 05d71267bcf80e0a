"""Several bases, one agent: the smallest base whose student reaches a bar is chosen.

Bases are tried from the smallest file to the largest, on one export, and the first that reaches the bar ends the
search: what a larger one would reach costs memory and time in every call. Versions that are not chosen are retired,
for only one should be shadowed; their figures stay in the register. Where none reaches the bar, the best is kept: the
gate decides in the end.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..serving.bases import locate, resolve
from ..traffic.errors import BadInput, TutelageError
from ..traffic.students import Manifest, StudentRegister

Train = Callable[[str], Manifest]
"""Trains and registers a version from a base. Raises TutelageError."""


@dataclass(frozen=True)
class Tried:
    """One base, and what came of it: a line of the table."""

    base: str
    mb: float
    """Size of the file that is served, in 10⁶ bytes."""
    version: str = ""
    agreement: float | None = None
    """On the held-out sessions, with its 95 % interval."""
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    calls: int = 0
    seconds: float = 0.0
    """Of the whole run."""
    result: str = ""
    """`chosen`, `below the bar`, `rejected: …`, `failed: …` or `not needed`."""

    def to_json(self) -> dict[str, Any]:
        """As a row of a table."""
        return asdict(self)


def size_of(base: str) -> int:
    """Bytes of the file that would be served; one that is on the hub is fetched."""
    path: Path = locate(base) or resolve(base).gguf
    return path.stat().st_size


def select(
    bases: Sequence[str], bar: float, train: Train, register: StudentRegister, size: Callable[[str], int] = size_of
) -> list[Tried]:
    """Try the bases and retire what is not chosen; a line for each, smallest first.

    `bar`: agreement that is enough, in (0, 1]. `size`: bytes of a base's file. Raises BadInput without bases, and when
    no run led to a version that may be used."""
    if not bases:
        raise BadInput("Expected the names of at least one base model, smallest or largest first as you like.")
    found: list[Tried] = []
    sizes = {base: size(base) / 1e6 for base in bases}
    for base, mb in sorted(sizes.items(), key=lambda item: item[1]):
        over = any(tried.result == "chosen" for tried in found)
        found.append(Tried(base, mb, result="not needed") if over else _try(base, mb, bar, train))
    usable = [tried for tried in found if tried.result in ("chosen", "below the bar")]
    if not usable:
        raise BadInput("No base led to a student: " + "; ".join(f"{tried.base} {tried.result}" for tried in found))
    best = max(usable, key=lambda tried: (tried.result == "chosen", tried.agreement or 0.0))
    for tried in usable:
        if tried is not best:
            said = f"{best.version}, from the base {best.base}, was chosen"
            register.retire(tried.version, "distill select", said, register.get(best.version).created_at)
    return found


def _try(base: str, mb: float, bar: float, train: Train) -> Tried:
    try:
        manifest = train(base)
    except TutelageError as error:
        return Tried(base, mb, result=f"failed: {error}")
    scores = manifest.scores
    agreement = float(scores.get("agreement") or 0.0)
    result = "chosen" if agreement >= bar else "below the bar"
    return Tried(
        base,
        mb,
        manifest.version,
        agreement,
        scores.get("low"),
        scores.get("high"),
        scores.get("floor"),
        int(scores.get("calls") or 0),
        sum(manifest.seconds.values()),
        f"rejected: {manifest.reason}" if manifest.status == "rejected" else result,
    )
