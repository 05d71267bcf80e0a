"""Which run has started which: a sub-agent's run, and the run of the agent that it works for.

A sub-agent's conversation says nothing of the one that it came from, so this is believed to whoever says it: the header
`x-tutelage-parent`, or `tutelage_parent` in the request's `metadata`. It names the parent's run as the agent did, or as
it is listed, or any call of it. The first call of a run that names a parent decides.

The parent's own calls may come later, out of another worker's journal, or never. A name stands for the run of that
name all the same; where it was the id of a call, the link is put right when that call comes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from .answers import clean
from .cache import Generations
from .lookup import ids_table
from .rows import Row
from .store import Store

EXPLICIT = "x:"
"""How ids of runs begin that the agent has named."""
_CALL_ID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
_PATIENCE_S = 86_400.0
"""After a restart, calls that were to come are waited for when the run that names them is no older than this."""
_LINK = """
UPDATE trajectories SET parent_id = batch.parent_id FROM batch
WHERE trajectories.trajectory_id = batch.trajectory_id AND trajectories.parent_id IS NULL
    AND batch.parent_id <> batch.trajectory_id
"""
_PUT_RIGHT = """
UPDATE trajectories SET parent_id = batch.parent_id FROM batch
WHERE trajectories.parent_id = batch.name AND batch.parent_id <> trajectories.trajectory_id
"""


@dataclass
class Parentage:
    """Links runs to the runs that have started them, within ingest's transaction. Not thread-safe."""

    store: Store
    _awaited: Generations[str, bool] = field(default_factory=lambda: Generations(20_000))
    """Ids of calls that were named and are not in the store; names of runs that look like such ids among them."""

    def __post_init__(self) -> None:
        sql = f"""
            SELECT substr(parent_id, 3) FROM trajectories WHERE starts_with(parent_id, '{EXPLICIT}')
                AND last_at > (SELECT max(last_at) FROM trajectories) - {_PATIENCE_S} ORDER BY last_at DESC LIMIT 20000
        """
        for (name,) in self.store.rows(sql):
            if _CALL_ID(name):
                self._awaited[name] = True

    def link(self, rows: Sequence[Row]) -> None:
        """Write down the parents of a batch's runs. Its calls and runs are in the store already."""
        said: dict[str, str] = {}
        for row in rows:
            if row.parsed.record.parent and row.link is not None:
                said.setdefault(row.link.trajectory_id, clean(row.parsed.record.parent))
        if said:
            known = self._runs_of({parent for parent in said.values() if _CALL_ID(parent)})
            parents = {run: known.get(parent) or _named(parent) for run, parent in said.items()}
            self.store.bulk(_LINK, _table("trajectory_id", parents))
        if len(self._awaited):
            self._put_right(rows)

    def _runs_of(self, call_ids: set[str]) -> dict[str, str]:
        """The runs of those calls that are in the store; the others are waited for."""
        if not call_ids:
            return {}
        # The first 48 bits of such an id are the milliseconds at which the call began: few parts of a large table.
        times = [int(call_id[:8] + call_id[9:13], 16) / 1000 for call_id in call_ids]
        sql = f"""
            SELECT call_id, trajectory_id FROM calls SEMI JOIN batch ON calls.call_id = CAST(batch.id AS UUID)
            WHERE trajectory_id IS NOT NULL AND started_at BETWEEN {min(times) - 1!r} AND {max(times) + 1!r}
        """
        found = {str(call_id): run for call_id, run in self.store.join(sql, ids_table(call_ids))}
        for call_id in call_ids - found.keys():
            self._awaited[call_id] = True
        return found

    def _put_right(self, rows: Sequence[Row]) -> None:
        come = {
            EXPLICIT + row.step.call_id: row.link.trajectory_id
            for row in rows
            if row.link is not None and row.step.call_id in self._awaited
        }
        if come:
            self.store.bulk(_PUT_RIGHT, _table("name", come))


def _named(parent: str) -> str:
    return parent if parent.startswith(EXPLICIT) else EXPLICIT + parent


def _table(key: str, parents: Mapping[str, str]) -> pa.Table:
    strings = pa.schema({key: pa.string(), "parent_id": pa.string()})
    return pa.table({key: list(parents), "parent_id": list(parents.values())}, schema=strings)
