"""Who wants to know of calls and labels on their way through the control plane: metrics and traces.

Invariant: a watcher cannot hurt what it watches. It is called in the keeper's and the runners' threads, must return
soon, and what it raises is logged and goes no further.
"""

import logging
from collections.abc import Callable
from typing import Protocol

import pyarrow as pa

from .shadow import Label

logger = logging.getLogger(__name__)


class Watcher(Protocol):
    """Told of everything once; after a crash, of nothing that was told before."""

    def calls(self, calls: pa.Table) -> None:
        """Rows that have been added to the table `calls`, with its columns."""
        ...

    def label(self, label: Label) -> None:
        """A comparison, or a second answer of the teacher."""
        ...


class Watchers:
    """All of them. Added at the start, before anything is told."""

    def __init__(self) -> None:
        self._all: list[Watcher] = []

    def add(self, watcher: Watcher) -> None:
        """Let one more know."""
        self._all.append(watcher)

    def calls(self, calls: pa.Table) -> None:
        """See `Watcher.calls`."""
        self._tell(lambda watcher: watcher.calls(calls))

    def label(self, label: Label) -> None:
        """See `Watcher.label`."""
        self._tell(lambda watcher: watcher.label(label))

    def _tell(self, say: Callable[[Watcher], None]) -> None:
        for watcher in self._all:
            try:
                say(watcher)
            except Exception:
                logger.exception("Metrics or traces lack what they were told last")
