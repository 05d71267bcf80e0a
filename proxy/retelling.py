"""The proof that the event log tells everything: fold it again from nothing and compare with what is in force.

Three things must be equal bit for bit, as JSON: each machine's state; each logged transition, with its evidence, and
what follows at that event; and what the evidence kept with a transition decides by itself. Then the published table
must be the one that follows from the states.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from .event_log import EventLog, Key
from .machine import apply, reproduced
from .routes import Route, RouteTable
from .states import PatternState, Transition


@dataclass
class Retelling:
    """What came out."""

    equal: bool = True
    machines: int = 0
    """Student versions on patterns."""
    events: int = 0
    transitions: int = 0
    reproduced: int = 0
    """Transitions that their own kept evidence makes again; the others were an operator's or a new student's."""
    differences: list[str] = field(default_factory=list)
    """Each difference in words; empty when all is equal."""

    def differs(self, text: str) -> None:
        """Note a difference."""
        self.equal = False
        self.differences.append(text)


def retell(log: EventLog, in_force: Mapping[Key, PatternState]) -> Retelling:
    """Fold the whole log again and compare with the states in force."""
    found, states = Retelling(), dict[Key, PatternState]()
    logged = {key: iter(transitions) for key, transitions in log.transitions_by_machine().items()}
    nothing: Iterator[Transition] = iter(())
    for number, one in enumerate(log.events(), start=1):
        found.events = number
        state, made = apply(states.get(one.key, PatternState()), one.event)
        states[one.key] = state
        for transition in made:
            _compare(found, one.key, transition, next(logged.get(one.key, nothing), None))
    for key, left in logged.items():
        if more := sum(1 for _ in left):
            found.differs(f"{_name(key)}: {more} logged transitions that no event makes")
    found.machines = len(states)
    for key in states.keys() | in_force.keys():
        if _bytes(states.get(key)) != _bytes(in_force.get(key)):
            found.differs(f"{_name(key)}: the state in force is not the one that the log leads to")
    return found


def _compare(found: Retelling, key: Key, made: Transition, logged: Transition | None) -> None:
    found.transitions += 1
    what = f"{_name(key)}: {made.before} → {made.after} ({made.reason})"
    if logged is None or _bytes(made) != _bytes(logged):
        found.differs(f"{what} is not what was logged")
    elif logged.actor in ("gate", "guard") and logged.reason != "student_registered":
        again = reproduced(logged)
        found.reproduced += 1
        if again is None or _bytes(again) != _bytes(logged):
            found.differs(f"{what} does not follow from the evidence kept with it")


def check_table(found: Retelling, path: Path, routes: Callable[[], Mapping[str, Route]], off: bool) -> None:
    """Compare the published table with the one that follows from the states."""
    try:
        table = msgspec.json.decode(path.read_bytes(), type=RouteTable)
    except FileNotFoundError:
        return found.differs("no route table has been published") if routes() else None
    except msgspec.DecodeError as error:
        return found.differs(f"the published route table cannot be read: {error}")
    if _bytes(table.routes) != _bytes(dict(routes())) or table.off != off:
        found.differs("the published route table is not the one that follows from the states")
    return None


def _bytes(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _name(key: Key) -> str:
    return f"{key[0]}, {key[1]}"
