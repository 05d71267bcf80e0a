"""Which sessions each machine has heard and what it was told: remembered from the event log, so that a session is told
once, and once more only when its labels say something else."""

from collections.abc import Iterator, Mapping

from ..traffic.store import Store
from .event_log import Key
from .session_details import NEAR, Spoken, differing
from .shadow import AUDIT, SHADOW
from .states import WHOLE, Session


class HeardSessions:
    """By machine and kind of evidence (`shadow`, `audit`, `whole`): the newest event of each session."""

    def __init__(self) -> None:
        self._events: dict[tuple[Key, str], dict[str, Session]] = {}
        self._losses: dict[tuple[Key, str], dict[str, float]] = {}

    def note(self, key: Key, event: Session) -> None:
        """A session was told, or told anew."""
        scope = key, event.kind if event.kind in (SHADOW, WHOLE) else AUDIT
        self._events.setdefault(scope, {})[event.session] = event
        self._losses.setdefault(scope, {})[event.session] = event.loss

    def scopes(self) -> Iterator[tuple[Key, str]]:
        """Machines and kinds with a session."""
        yield from list(self._events)

    def losses(self, key: Key, kind: str) -> Mapping[str, float]:
        """The loss that was told for each session."""
        return self._losses.get((key, kind), {})

    def count(self, key: Key, kind: str) -> int:
        """How many sessions were told."""
        return len(self.losses(key, kind))

    def event(self, key: Key, kind: str, session: str) -> Session:
        """What was told about a session."""
        return self._events[key, kind][session]

    def differs(self, key: Key, kind: str, session: str, loss: float) -> bool:
        """Whether the loss is another one than was told."""
        return abs(self._losses[key, kind][session] - loss) > NEAR

    def differing(self, store: Store, how: str) -> set[Spoken]:
        """All sessions whose labels in the store now give another loss: to be asked once, at the start."""
        found: set[Spoken] = set()
        for (key, kind), losses in self._losses.items():
            found |= differing(store, *key, kind, losses, how)
        return found
