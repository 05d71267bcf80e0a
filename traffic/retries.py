"""Attempts of one action, for calls that are no conversations (embeddings, text completions, unreadable requests).

An attempt repeats an earlier one when the same caller sends the same bytes to the same endpoint, and either its client
library says that it is a retry, or the earlier attempt failed a short time ago. Conversations are told by their
messages instead, see `trajectories`; the spans of time are the same.
"""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import NamedTuple

from .cache import Generations
from .records import CallRecord
from .store import Store
from .trajectories import REPEAT_WINDOW_S, RETRY_WINDOW_S

_RECENT = """
SELECT call_id, endpoint, caller, started_at, coalesce(error, '') <> '' OR coalesce(cancelled, FALSE), request_raw
FROM calls WHERE request_raw IS NOT NULL AND retried IS NOT TRUE
    AND started_at > (SELECT max(started_at) FROM calls) - ? ORDER BY started_at LIMIT 20000
"""


class _Attempt(NamedTuple):
    call_id: str
    started_at: float
    failed: bool


@dataclass
class Retries:
    """Remembers the latest attempts. Feed it in order of their start. Not thread-safe."""

    store: Store
    _latest: Generations[bytes, _Attempt] = field(default_factory=lambda: Generations(20_000))

    def __post_init__(self) -> None:
        for call_id, endpoint, caller, started_at, failed, body in self.store.rows(_RECENT, [RETRY_WINDOW_S]):
            self._latest[_key(caller or "", endpoint or "", bytes(body))] = _Attempt(str(call_id), started_at, failed)

    def repeated(self, record: CallRecord, failed: bool) -> str | None:
        """The call that this one repeats; remembers it for those that follow."""
        if not record.request:
            return None
        key = _key(record.caller, record.endpoint, record.request)
        before = self._latest.get(key)
        self._latest[key] = _Attempt(record.call_id, record.started_at, failed)
        if before is None or not (record.retry or before.failed):
            return None
        window = RETRY_WINDOW_S if record.retry else REPEAT_WINDOW_S
        return before.call_id if 0 <= record.started_at - before.started_at <= window else None


def _key(*parts: str | bytes) -> bytes:
    state = blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "backslashreplace") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "big") + data)
    return state.digest()
