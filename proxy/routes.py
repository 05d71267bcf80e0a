"""The route table: what the control plane decided, as the data plane reads it.

One JSON file, replaced atomically. Workers look at its modification time a few times a second and keep the last good
table when it is missing or broken (fail static), so the control plane may die without agents noticing.
"""

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ..traffic.layout import publish

BUCKETS = 10_000


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The route of one pattern."""

    state: str
    """observe, shadow, canary, live, blocked, quarantined, off."""
    student: str = ""
    """Student version (`name@digest`), empty when there is none."""
    share: float = 0.0
    """Share of sessions that the student serves, in [0, 1]; above 0 only in canary and live."""
    salt: str = ""
    """Salt of the session hash; one per pattern and student version, so that raising the share flips nobody back."""
    threshold: float | None = None
    """Lowest score of an answer that the student may give; None: any."""
    behind: "Route | None" = None
    """Route of the sessions that this one leaves to the teacher: that of an older version, live until a newer one has
    taken over."""


class RouteTable(msgspec.Struct, frozen=True, kw_only=True):
    """All routes, and the big switch."""

    serial: int = 0
    """Grows with every publication."""
    written_at: float = 0.0
    off: bool = False
    """True: everything goes to the teacher."""
    routes: dict[str, Route] = {}
    """By pattern id."""


def bucket(salt: str, session: str) -> int:
    """A session's bucket in [0, 10,000): SHA-256 of salt and session key."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{session}".encode()).digest(), "big") % BUCKETS


def assigned(route: Route, session: str) -> bool:
    """Whether the student serves a session under this route. Monotone in the share."""
    return bucket(route.salt, session) < round(route.share * BUCKETS)


def route_for(route: Route, session: str) -> Route | None:
    """The route under which a student serves a session; None: the teacher does."""
    taken: Route | None = route
    while taken is not None and not assigned(taken, session):
        taken = taken.behind
    return taken


def publish_table(path: Path, table: RouteTable) -> None:
    """Write the table so that workers see it whole."""
    publish(path, msgspec.json.encode(table))


def read_table(path: Path) -> RouteTable:
    """The table on disk, for who writes the next one: its serial goes on. An unreadable one counts as none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=RouteTable)
    except (OSError, msgspec.DecodeError):
        return RouteTable()


@dataclass
class RouteReader:
    """A worker's view of the table. `current` is cheap: at most one `stat` per `every_s` seconds."""

    path: Path
    every_s: float = 0.2
    table: RouteTable = field(default_factory=RouteTable)
    error: str = ""
    """Why the newest file could not be read; the last good table stays in use."""
    _looked: float = -1e9
    _stamp: tuple[int, int] = (0, 0)

    def current(self) -> RouteTable:
        """The newest readable table; an empty one (everything to the teacher) before the first."""
        now = time.monotonic()
        if now - self._looked >= self.every_s:
            self._looked = now
            self._refresh()
        return self.table

    def _refresh(self) -> None:
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._stamp:
                self.table = msgspec.json.decode(self.path.read_bytes(), type=RouteTable)
                self._stamp, self.error = stamp, ""
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            self.error = f"{self.path.name}: {error}"
