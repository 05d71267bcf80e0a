"""Is every call that was answered in the journal, once, with both bodies as they went over the wire?"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tutelage.traffic.journal import JournalReader
from tutelage.traffic.records import CallRecord, decode

from .proxy_load import Sent

_CALL_ID = re.compile(rb"\r\nx-tutelage-call-id: *([^\r]+)\r\n", re.IGNORECASE)


@dataclass
class LogCheck:
    """Reads the journals of the data planes that a benchmark has run; `known` are the bodies that may be in them."""

    requests: frozenset[bytes]
    responses: frozenset[bytes]
    acknowledged: int = 0
    """Answers with 2xx that the load has counted."""
    cut_off: int = 0
    """Calls that may have been on their way when a run of wrk ended: logged, but not counted by it."""
    logged: int = 0
    """Records with 2xx that are not marked as cancelled."""
    duplicates: int = 0
    bodies_wrong: int = 0
    """Records of these whose request or response is not what went over the wire."""
    recognised: int = 0
    """Records of these that name a pattern."""
    damaged: int = 0
    """Pieces of segments that were no intact records."""
    missing_ids: int = 0
    """Calls whose id the agent was told in a 2xx answer, and which are in no record."""
    _seen: set[str] = field(default_factory=set)

    def read(self, journal: Path, told: Iterable[str] = ()) -> None:
        """Take in a journal whose writers have ended, delete what was read, and look for the ids that were told."""
        reader, positions = JournalReader(journal), dict[str, int]()
        while True:
            batch = reader.read(positions)
            self.damaged += len(batch.damaged)
            if not batch.records:
                break
            positions = batch.positions
            for payload in batch.records:
                self._take(decode(payload))
            reader.delete(reader.finished(positions))
        self.missing_ids += sum(call_id not in self._seen for call_id in told)

    def _take(self, record: CallRecord) -> None:
        self.duplicates += record.call_id in self._seen
        self._seen.add(record.call_id)
        if 200 <= record.status < 300 and not record.cancelled:
            self.logged += 1
            self.recognised += bool(record.pattern)
            self.bodies_wrong += record.request not in self.requests or record.response not in self.responses

    @property
    def unlogged(self) -> int:
        """Answered calls that are not in the log: at least so many, counted in two ways."""
        return max(self.acknowledged - self.logged, self.missing_ids)

    @property
    def unexplained(self) -> int:
        """Records beyond what was answered or may have been cut off: at least so many."""
        return max(0, self.logged - self.acknowledged - self.cut_off)


def told_ids(calls: Iterable[Sent]) -> list[str]:
    """The call ids in the heads of answers that came whole with 2xx."""
    heads = (call.raw.partition(b"\r\n\r\n")[0] + b"\r\n" for call in calls if call.done)
    found = (_CALL_ID.search(head) for head in heads if head.startswith(b"HTTP/1.1 2"))
    return [match[1].decode() for match in found if match is not None]
