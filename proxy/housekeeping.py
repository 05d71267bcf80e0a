"""Retention in the control plane: the rules of the settings, what may never go, and a little work at most hourly.

What is due is done in steps of one transaction, one after each review of the keeper, so an off switch never waits for
a large removal. When it was last done is in the store, for commands open it too.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..traffic import intents
from ..traffic.layout import DataDir
from ..traffic.retention import Keep, Removed, Rules, prune
from ..traffic.store import Store
from .key_budgets import span_of
from .options import StoreOptions

EVERY_S = 3_600.0
"""Pause between two times that the rules are applied, in seconds."""
_DONE_AT = "retention_at"

logger = logging.getLogger(__name__)


def rules_of(options: StoreOptions) -> Rules:
    """The rules in the settings. Raises BadInput for a limit below zero."""
    per_pattern = {name: Keep(one.keep_days, one.max_bytes) for name, one in options.per_pattern.items()}
    return Rules(Keep(options.keep_days, options.max_bytes), per_pattern)


def kept_since(store: Store, now: float) -> float | None:
    """What key budgets are counted from: calls of this month stay as long as a key has a budget. None: none has."""
    sql = "SELECT count(*) FROM proxy_keys WHERE revoked_at = 0 AND (budget_usd > 0 OR budget_tokens > 0)"
    return span_of("month", now).begin if store.value(sql) else None


@dataclass
class Housekeeping:
    """Applies the rules little by little. The keeper's thread is its only user."""

    data: DataDir
    store: Store
    options: StoreOptions
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self._rules = rules_of(self.options)
        self._sizes: dict[str, int] = {}
        self._done_at = float(self.store.value("SELECT value FROM meta WHERE key = ?", [_DONE_AT]) or 0.0)

    def step(self) -> Removed | None:
        """Remove a little if it is time; None when it is not. A failure is logged, and the next hour tries again."""
        now = self.clock()
        if not self._rules.limited or 0 <= now - self._done_at < EVERY_S:
            return None
        try:
            since = kept_since(self.store, now)
            removed = prune(self.store, self._rules, now, kept_since=since, steps=1, sizes=self._sizes)
            if not removed.more:
                intents.forget(self.data, self.store)
                self._note(now)
        except Exception:
            logger.exception("The rules of [store] could not be applied and will be tried again in an hour")
            self._done_at = now
            self._sizes.clear()
            return None
        if removed.calls:
            logger.info("Retention removed %d calls of %d runs from the store", removed.calls, removed.runs)
        return removed

    def _note(self, now: float) -> None:
        self._done_at = now
        self._sizes.clear()
        self.store.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [_DONE_AT, repr(now)])
