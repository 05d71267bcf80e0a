"""Answers remembered for a while, so that open pages cost the store little however many there are.

An answer is kept for as long as it took to compute, times `PAUSE`, and at least for a moment: whatever it costs, asking
again and again takes at most 1/PAUSE of one core. Slow ones are computed beside the request that first wanted them, one
at a time: twenty pages that are opened at once must not make the twenty-first slow.
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

PAUSE = 10.0
LEAST_S = 0.8
MOST_KEYS = 500
"""Answers kept; beyond them the oldest is forgotten."""

Answer = TypeVar("Answer")
logger = logging.getLogger(__name__)


@dataclass
class _Known:
    value: Any
    until: float


class Memo:
    """Answers by key. `get` and `later` may be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[Hashable, _Known] = {}
        self._busy: dict[Hashable, threading.Lock] = {}
        self._turn = threading.Lock()
        # Protects the two dicts; an answer is computed under its own key's lock.
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Answer], least_s: float = LEAST_S) -> Answer:
        """The answer, computed by the first who asks while the others wait. An error is not remembered."""
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:
            known = self._known.get(key)
            if known is not None and self._clock() < known.until:
                return known.value
            return self._make(key, make, least_s)

    def later(self, key: Hashable, make: Callable[[], Answer], least_s: float, wait_s: float = 0.0) -> Answer | None:
        """The last answer, however old, or None before the first; a new one is computed in the background when due.

        wait_s: seconds to wait for the first one, by whom it was started.
        """
        known = self._known.get(key)
        if known is None or self._clock() >= known.until:
            with self._lock:
                busy = self._busy.setdefault(key, threading.Lock())
            if busy.acquire(blocking=False):
                work = threading.Thread(target=self._beside, args=(busy, key, make, least_s), daemon=True)
                work.start()
                if known is None and wait_s:
                    work.join(wait_s)
                    known = self._known.get(key)
        return None if known is None else known.value

    def _beside(self, busy: threading.Lock, key: Hashable, make: Callable[[], Any], least_s: float) -> None:
        try:
            with self._turn:
                self._make(key, make, least_s)
        except Exception:
            logger.exception("%s could not be computed and will be tried again", key)
        finally:
            busy.release()

    def _make(self, key: Hashable, make: Callable[[], Answer], least_s: float) -> Answer:
        began = self._clock()
        value = make()
        ended = self._clock()
        with self._lock:
            self._known.pop(key, None)
            self._known[key] = _Known(value, ended + max(least_s, PAUSE * (ended - began)))
            if len(self._known) > MOST_KEYS:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self._busy.pop(oldest, None)
        return value
