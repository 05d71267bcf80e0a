"""Long work on the store, one at a time, in a thread of its own: checks, copies, exports, imports, removals.

Each may be killed at any moment and begun again. Who started one asks how far it is; its result stays until the next.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..traffic import intents
from ..traffic.compacting import compact
from ..traffic.erasure import Erased, erase
from ..traffic.errors import BadInput, TutelageError, UnknownName
from ..traffic.importing import import_calls
from ..traffic.journal import JournalWriter
from ..traffic.layout import DataDir
from ..traffic.parquet import export_parquet
from ..traffic.records import CallRecord, encode
from ..traffic.retention import prune
from ..traffic.store import Store
from ..traffic.students import StudentRegister
from ..traffic.verify import verify
from .housekeeping import kept_since, rules_of
from .keeper import Keeper
from .options import StoreOptions

logger = logging.getLogger(__name__)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class JobStatus:
    """How far a job is."""

    job: int
    """Its number since this process started."""
    kind: str
    done: int = 0
    total: int = 0
    """0 while it is unknown."""
    finished: bool = False
    result: Any = None
    """Its report, when it is finished and has worked."""
    error: str = ""
    error_type: str = ""
    """Name of the error's class."""


@dataclass(frozen=True)
class StoreOrder:
    """What to do: `verify`, `compact`, `prune`, `forget`, `export` or `import`."""

    kind: str
    path: str = ""
    """Of `export` and `import`: absolute, on the machine of the control plane."""
    form: str = ""
    """Of `import`; empty: told by the content."""
    dry_run: bool = False
    """Of `prune` and `forget`."""
    trajectory: str = ""
    """Of `forget`: the run."""


class StoreJobs:
    """Starts jobs and tells how far they are. Safe to use from several threads."""

    def __init__(
        self, store: Store, keeper: Keeper, data: DataDir, options: StoreOptions, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._keeper, self._data, self._options, self._clock = store, keeper, data, options, clock
        # Protects the status, which the job's thread and those who ask share.
        self._lock = threading.Lock()
        self._status: JobStatus | None = None
        self._works: dict[str, Callable[[StoreOrder, Progress], Any]] = {
            "verify": lambda order, progress: verify(store, progress),
            "compact": lambda order, progress: compact(store, progress),
            "prune": self._prune,
            "forget": self._forget,
            "export": lambda order, progress: export_parquet(store, Path(order.path), clock(), progress),
            "import": self._import,
        }

    def start(self, order: StoreOrder) -> JobStatus:
        """Begin a job. Raises BadInput for an order that makes no sense or while another one runs."""
        if order.kind not in self._works:
            raise BadInput(f"There is no job {order.kind!r}. Known: {', '.join(self._works)}.")
        if order.kind in ("export", "import") and not Path(order.path).is_absolute():
            raise BadInput(f"The path of an {order.kind} must be absolute, not {order.path!r}.")
        with self._lock:
            before = self._status
            if before is not None and not before.finished:
                raise BadInput(f"The job {before.kind} is still at work on the store. Wait until it is done.")
            self._status = status = JobStatus(before.job + 1 if before else 1, order.kind)
        # A daemon: ending the process ends the job, which can be begun again.
        threading.Thread(target=self._run, args=(order,), name=f"store-{order.kind}", daemon=True).start()
        return status

    def status(self, job: int) -> JobStatus:
        """How far a job is. Raises UnknownName for one that is not the latest."""
        with self._lock:
            if self._status is None or self._status.job != job:
                raise UnknownName(f"There is no job {job}: only the latest one is remembered. Start it again.")
            return self._status

    def _run(self, order: StoreOrder) -> None:
        try:
            result = self._works[order.kind](order, self._progress)
            self._change(finished=True, result=asdict(result))
        except Exception as error:
            if not isinstance(error, TutelageError):
                logger.exception("The job %s on the store failed", order.kind)
            self._change(finished=True, error=str(error) or type(error).__name__, error_type=type(error).__name__)

    def _progress(self, done: int, total: int) -> None:
        self._change(done=done, total=total)

    def _change(self, **changes: Any) -> None:
        with self._lock:
            if self._status is not None:
                self._status = replace(self._status, **changes)

    def _prune(self, order: StoreOrder, progress: Progress) -> Any:
        rules, now = rules_of(self._options), self._clock()
        if not rules.limited:
            raise BadInput("Nothing limits the store: set keep_days or max_bytes in [store] of tutelage.toml first.")
        since = kept_since(self._store, now)
        tell: Callable[[int], None] = lambda runs: progress(runs, 0)  # noqa: E731
        removed = prune(self._store, rules, now, kept_since=since, dry_run=order.dry_run, progress=tell)
        if not order.dry_run:
            intents.forget(self._data, self._store)
        return removed

    def _forget(self, order: StoreOrder, progress: Progress) -> Erased:
        if not order.trajectory:
            raise BadInput("Say which trajectory is to be forgotten.")
        erased = erase(self._store, StudentRegister(self._data), order.trajectory, self._clock(), order.dry_run)
        if not order.dry_run:
            intents.forget(self._data, self._store)
            logger.info("Trajectory %s was erased: %d calls", order.trajectory, erased.calls)
        return erased

    def _import(self, order: StoreOrder, progress: Progress) -> Any:
        """Through a journal of its own and the keeper's ingest, as calls of agents go."""
        # What an earlier import that was killed has left in the journal must be known before ids are compared.
        self._keeper.catch_up()
        writer = JournalWriter(self._data.journal)

        def intake(records: Sequence[CallRecord]) -> None:
            for record in records:
                while not writer.append(encode(record)):
                    if not writer.flush():
                        raise TutelageError("The journal cannot be written; is the disk full? Run the import again.")
            if not writer.flush():
                raise TutelageError("The journal cannot be written; is the disk full? Run the import again.")
            # Without the reviews of `catch_up`, which would be most of the work.
            while self._keeper.tick():
                pass

        try:
            report = import_calls(
                self._store, Path(order.path), intake, form=order.form, now=self._clock(), progress=progress
            )
        finally:
            writer.close()
        self._keeper.catch_up()
        return report
