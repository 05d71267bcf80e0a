"""Which of the messages that ingest has named are not in the store yet.

`INSERT … ON CONFLICT DO NOTHING` would tell, but reads the names of all stored messages for it: too slow where there
are millions. So most messages are known to be new without looking (see `messages`). Of the others only those are looked
up whose parent is stored already: what follows a message that the store lacks cannot be there, for no message is ever
stored without its parent.

A name is looked up in the table's index, or all of them by one pass over the table: whichever is expected to be faster.
"""

from collections.abc import Iterable, Sequence

from .lookup import ids_table
from .messages import StoredMessage
from .store import Store

ROWS_PER_LOOKUP = 2_500
"""So many rows are passed over in the time of one look into the index (0.01 µs a row, 25 µs a look)."""
_LOOKUPS = 1_000
"""Names in one statement."""
_BY_PASS = "SELECT message_id FROM messages SEMI JOIN batch ON message_id = CAST(batch.id AS UUID)"


class Novelty:
    """Compares messages with those in the store, within ingest's transaction. Not thread-safe."""

    def __init__(self, store: Store, rows_per_lookup: int = ROWS_PER_LOOKUP) -> None:
        self._store = store
        self._rows_per_lookup = rows_per_lookup
        self._rows: int = store.value("SELECT count(*) FROM messages")

    def lacking(self, named: Sequence[StoredMessage]) -> Sequence[StoredMessage]:
        """Those that the store lacks, to be stored before this is asked again. Parents come before children."""
        named = _once(named)
        unsure = {one.message_id: one for one in named if not one.surely_new}
        lacking = named
        if unsure and self._rows:
            first = [one.message_id for one in unsure.values() if one.parent_id not in unsure]
            present = self._present(first)
            if present:
                present |= self._present(unsure.keys() - set(first))
                lacking = [one for one in named if one.message_id not in present]
        for one in lacking:
            one.named.born = True
        self._rows += len(lacking)
        return lacking

    def _present(self, names: Iterable[str]) -> set[str]:
        """Those of the names that the store has."""
        names = list(names)
        if len(names) * self._rows_per_lookup > self._rows:
            return {found.hex for (found,) in self._store.join(_BY_PASS, ids_table(names))}
        present: set[str] = set()
        for start in range(0, len(names), _LOOKUPS):
            listed = ", ".join(f"'{name}'" for name in names[start : start + _LOOKUPS])
            rows = self._store.rows(f"SELECT message_id FROM messages WHERE message_id IN ({listed})")
            present.update(found.hex for (found,) in rows)
        return present


def _once(named: Sequence[StoredMessage]) -> Sequence[StoredMessage]:
    """Each message as it was named first: a batch with more messages than are remembered may name one again.

    Only the first may be `born`: of the others it is not known that what follows them has no name already.
    """
    first: dict[str, StoredMessage] = {}
    for one in named:
        first.setdefault(one.message_id, one)
    return named if len(first) == len(named) else list(first.values())
