"""The proxy's keys in the control plane: rows of the store, and the list that is published for the data plane.

Invariant: the text of a key exists once, in the answer to the request that made it. The row, the published list and
every later answer have its SHA-256 or nothing (proxy/key_text.py says why that is enough).

Each change is one transaction; then `review` counts what the keys with a budget have used and publishes the list if
anything in it is new. It reads the rows and writes the file under the store's lock, so of two reviews the later sees
both changes; and as it changes no row, a crash before it is mended by the next.
"""

import functools
import logging
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ..traffic.errors import BadInput, UnknownName
from ..traffic.layout import DataDir, publish
from ..traffic.store import Store
from .callers import caller_of_key
from .key_budgets import PERIODS, Period, Spending, span_of, spending
from .key_limits import KeyRow, Limits, NewKey, check, default_burst
from .key_rates import SLOTS
from .key_text import hash_of, new_key
from .keys import KeyEntry, KeyTable
from .options import Price

REVIEW_S = 2.0
"""Pause between two looks at the budgets, in seconds."""

Used = dict[tuple[str, Period], Spending]
"""By caller and period."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class KeyBook:
    """Makes, changes and lists keys. Holds references only: several may work on one store."""

    store: Store
    data: DataDir
    prices: Mapping[str, Price]
    clock: Callable[[], float] = time.time

    def create(self, limits: Limits) -> NewKey:
        """A new key within `limits`, in force when this returns. Raises BadInput."""
        now = self.clock()
        check(limits, now)
        key, key_id = new_key(), f"key_{secrets.token_hex(4)}"
        with self.store.transaction():
            slot = self._free_slot()
            columns = {**_columns(limits), "key_id": key_id, "hash": hash_of(key), "slot": slot, "created_at": now}
            self._insert({**columns, "revoked_at": 0.0})
        self.review()
        return NewKey(**msgspec.structs.asdict(self.get(key_id)), key=key)

    def listed(self) -> list[KeyRow]:
        """All keys, the newest first."""
        now, used = self.clock(), self._used()
        return [self._shown(row, used, now) for row in reversed(self._rows())]

    def get(self, name: str) -> KeyRow:
        """One key by id or name. Raises UnknownName, or BadInput when several have the name."""
        key_id = self._id_of(name)
        return next(row for row in self.listed() if row.key_id == key_id)

    def update(self, name: str, changes: Mapping[str, Any]) -> KeyRow:
        """Change some fields of `Limits`. Raises UnknownName, or BadInput for a revoked key or a bad value."""
        key_id = self._id_of(name)
        with self.store.transaction():
            row = self._row(key_id)
            if row["revoked_at"]:
                raise BadInput(f"The key {key_id} was revoked and stays so. Make a new one with: tutelage keys create")
            limits = msgspec.convert({**msgspec.to_builtins(_limits(row)), **changes}, Limits)
            # A time in the past is no mistake here: it ends the key now.
            check(limits, -math.inf)
            self._set(key_id, _columns(limits))
        self.review()
        return self.get(key_id)

    def revoke(self, name: str) -> KeyRow:
        """End a key for good; workers refuse it within 0.2 s. Raises as `get` does."""
        key_id = self._id_of(name)
        with self.store.transaction():
            if not self._row(key_id)["revoked_at"]:
                self._set(key_id, {"revoked_at": self.clock()})
        self.review()
        return self.get(key_id)

    def review(self) -> None:
        """Count what was used and publish the list if anything in it is new."""
        used = self._used()
        with self.store.transaction():
            keys = tuple(self._entry(row, used) for row in self._rows())
            content = msgspec.json.encode(KeyTable(keys=keys))
            if not self.data.keys.exists() or self.data.keys.read_bytes() != content:
                publish(self.data.keys, content)

    def run(self, stop: threading.Event, every_s: float = REVIEW_S) -> None:
        """Reviews until `stop`, the first at once. One that fails is logged and the next tries again."""
        while True:
            try:
                self.review()
            except Exception:
                logger.exception("The budgets of the keys could not be counted; it will be tried again")
            if stop.wait(every_s):
                return

    def _rows(self) -> list[dict[str, Any]]:
        return self.store.query("SELECT * FROM proxy_keys ORDER BY created_at, key_id")

    def _row(self, key_id: str) -> dict[str, Any]:
        return self.store.query("SELECT * FROM proxy_keys WHERE key_id = ?", (key_id,))[0]

    def _id_of(self, name: str) -> str:
        found = [row["key_id"] for row in self._rows() if name == row["key_id"]]
        found = found or [row["key_id"] for row in self._rows() if name == row["name"]]
        if not found:
            raise UnknownName(f"There is no key {name!r}. List them with: tutelage keys list")
        if len(found) > 1:
            raise BadInput(f"Several keys are called {name!r}. Give one of their ids: {', '.join(found)}.")
        return found[0]

    def _insert(self, columns: Mapping[str, Any]) -> None:
        names, marks = ", ".join(columns), ", ".join("?" for _ in columns)
        self.store.execute(f"INSERT INTO proxy_keys ({names}) VALUES ({marks})", list(columns.values()))

    def _set(self, key_id: str, columns: Mapping[str, Any]) -> None:
        changes = ", ".join(f"{name} = ?" for name in columns)
        self.store.execute(f"UPDATE proxy_keys SET {changes} WHERE key_id = ?", [*columns.values(), key_id])

    def _free_slot(self) -> int:
        """The lowest place in the file of rates that no valid key has; a revoked key gives its place back."""
        taken = {slot for (slot,) in self.store.rows("SELECT slot FROM proxy_keys WHERE revoked_at = 0")}
        free = next((slot for slot in range(SLOTS) if slot not in taken), None)
        if free is None:
            raise BadInput(f"There are {SLOTS} valid keys already, the most there can be. Revoke some first.")
        return free

    def _used(self) -> Used:
        """What the callers of valid keys with a budget used, by caller and period."""
        callers: dict[Period, list[str]] = {period: [] for period in PERIODS}
        for row in self._rows():
            if (row["budget_usd"] or row["budget_tokens"]) and not row["revoked_at"]:
                callers[row["period"]].append(self._caller(row))
        now, used = self.clock(), {}
        for period, wanted in callers.items():
            if wanted:
                found = spending(self.store, wanted, span_of(period, now), self.prices)
                used |= {(caller, period): spent for caller, spent in found.items()}
        return used

    @functools.cached_property
    def _secret(self) -> bytes:
        return self.data.read_secret()

    def _caller(self, row: Mapping[str, Any]) -> str:
        return caller_of_key(row["key_id"], self._secret)

    def _entry(self, row: Mapping[str, Any], used: Used) -> KeyEntry:
        limits, spent = _limits(row), used.get((self._caller(row), row["period"]), Spending())
        return KeyEntry(
            key_id=row["key_id"],
            hash=row["hash"],
            slot=row["slot"],
            expires_at=limits.expires_at,
            revoked_at=row["revoked_at"],
            rate=limits.rate,
            burst=limits.burst or default_burst(limits.rate),
            models=limits.models,
            budget_usd=limits.budget_usd,
            budget_tokens=limits.budget_tokens,
            period=limits.period,
            spent_usd=round(spent.usd, 6),
            spent_tokens=spent.tokens,
            exhausted=_used_up(limits, spent),
            resets_at=_resets_at(limits, self.clock()),
        )

    def _shown(self, row: Mapping[str, Any], used: Used, now: float) -> KeyRow:
        limits, caller = _limits(row), self._caller(row)
        spent = used.get((caller, row["period"]), Spending())
        states = (
            ("revoked", bool(row["revoked_at"])),
            ("expired", bool(limits.expires_at) and now >= limits.expires_at),
            ("exhausted", _used_up(limits, spent)),
        )
        return KeyRow(
            **{**msgspec.structs.asdict(limits), "burst": limits.burst or default_burst(limits.rate)},
            key_id=row["key_id"],
            created_at=row["created_at"],
            revoked_at=row["revoked_at"],
            state=next((state for state, holds in states if holds), "active"),
            caller=caller,
            calls=spent.calls,
            spent_usd=round(spent.usd, 6),
            spent_tokens=spent.tokens,
            uncounted=spent.uncounted,
            resets_at=_resets_at(limits, now),
        )


def _resets_at(limits: Limits, now: float) -> float:
    return span_of(limits.period, now).end if limits.budget_usd or limits.budget_tokens else 0.0


def _used_up(limits: Limits, spent: Spending) -> bool:
    dollars = 0 < limits.budget_usd <= spent.usd
    return dollars or 0 < limits.budget_tokens <= spent.tokens


def _limits(row: Mapping[str, Any]) -> Limits:
    models = tuple(msgspec.json.decode(row["models"], type=list[str]))
    names = [name for name in Limits.__struct_fields__ if name != "models"]
    return Limits(**{name: row[name] for name in names}, models=models)


def _columns(limits: Limits) -> dict[str, Any]:
    return {**msgspec.structs.asdict(limits), "models": msgspec.json.encode(limits.models).decode()}
