"""Who is calling: a keyed hash of the key, and which callers the teacher has accepted of late.

The agent's key itself is never kept: it passes through to the teacher. A caller may be served by the student only
while the teacher has recently accepted its key; otherwise the proxy would be a free model for anyone who can reach it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

LIMIT = 100_000
"""Callers remembered at most; the oldest acceptance is forgotten first."""


def caller_of(headers: Mapping[str, str], secret: bytes) -> str:
    """16 hex digits: BLAKE2b keyed with the data folder's secret, over the agent's key. Empty when it sent none."""
    token = headers.get("authorization") or headers.get("x-api-key") or headers.get("api-key")
    if not token:
        return ""
    if token[:7].lower() == "bearer ":
        token = token[7:]
    return blake2b(token.strip().encode("utf-8", "surrogateescape"), key=secret[:64], digest_size=8).hexdigest()


@dataclass
class AcceptedCallers:
    """Callers whose key the teacher accepted within the last `memory_s` seconds, as one worker has seen it."""

    memory_s: float
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, float] = field(default_factory=dict)

    def accepted(self, caller: str) -> bool:
        """Whether the teacher accepted this caller recently. The empty caller counts like any other."""
        seen = self._seen.get(caller)
        return seen is not None and self.clock() - seen < self.memory_s

    def note(self, caller: str, status: int) -> None:
        """Learn from the status of a teacher's answer: 2xx accepts, 401 and 403 revoke, others say nothing."""
        if 200 <= status < 300:
            # Taken out first, so that the dictionary's order is the order of the last acceptance.
            self._seen.pop(caller, None)
            self._seen[caller] = self.clock()
            if len(self._seen) > LIMIT:
                del self._seen[next(iter(self._seen))]
        elif status in (401, 403):
            self._seen.pop(caller, None)
