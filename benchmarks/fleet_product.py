"""The product's own state machine, one in every lane: the very code that decides in production.

Labels are grouped as the control plane groups them: a compared session is one event; sessions that nobody compared are
events only while a cooldown waits for them.
"""

import numpy as np

from tutelage.proxy.machine import apply
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.ramp import shares
from tutelage.proxy.states import Event, Passed, PatternState, Session, StudentRegistered

from .fleet_machine import Machine, Rules, rules_of
from .fleet_run import Wants, run
from .fleet_world import EPSILON, Flags, Floats, World, make


class Product:
    """`proxy.machine.apply` for each lane."""

    def __init__(self, world: World, options: RoutingOptions) -> None:
        self.options, self.single = options, ~world.multi
        self.states = [PatternState() for _ in range(world.lanes)]
        self.serving, self.live, self.waiting = np.zeros((3, world.lanes), dtype=bool)
        self.shares = np.zeros((3, world.lanes))

    def begin(self, lanes: Flags) -> None:
        for lane in np.flatnonzero(lanes).tolist():
            old = self.states[lane]
            self.states[lane] = PatternState()
            event = StudentRegistered(
                version=f"student@{lane}",
                k=old.k + 1,
                single_turn=bool(self.single[lane]),
                epsilon=EPSILON,
                options=self.options,
                wait=old.cooldown,
            )
            self._apply(lane, event)

    def wants(self) -> Wants:
        return Wants(*self.shares)

    def hear(self, shadowed: Flags, audited: Flags, losses: Floats) -> None:
        for lane in np.flatnonzero(shadowed | audited | self.waiting).tolist():
            if audited[lane]:
                event = Session(kind=self.states[lane].state, session="", loss=float(losses[lane]))
            elif shadowed[lane]:
                event = Session(kind="shadow", session="", loss=float(losses[lane]))
            else:
                event = Passed(n=1)
            self._apply(lane, event)

    def _apply(self, lane: int, event: Event) -> None:
        state = self.states[lane] = apply(self.states[lane], event).state
        self.serving[lane], self.live[lane] = state.state in ("canary", "live"), state.state == "live"
        self.waiting[lane] = state.cooldown > 0
        self.shares[:, lane] = shares(state)


class Beside:
    """Both machines on the same labels; an AssertionError in the first session for which they want different things."""

    def __init__(self, one: Machine, other: Product) -> None:
        self.one, self.other, self.session = one, other, 0

    @property
    def serving(self) -> Flags:
        return self.one.serving

    @property
    def live(self) -> Flags:
        return self.one.live

    def begin(self, lanes: Flags) -> None:
        self.one.begin(lanes)
        self.other.begin(lanes)

    def wants(self) -> Wants:
        one, other = self.one.wants(), self.other.wants()
        one = one._replace(audit=np.where(self.one.serving, one.audit, 0.0))
        for name, mine, theirs in zip(Wants._fields, one, other, strict=True):
            if not np.allclose(mine, theirs, atol=1e-9):
                lane = int(np.argmax(np.abs(mine - theirs)))
                raise AssertionError(
                    f"session {self.session}, lane {lane}: the benchmark's machine wants {name} {mine[lane]:g}, "
                    f"the product's {theirs[lane]:g}"
                )
        self.session += 1
        return one

    def hear(self, shadowed: Flags, audited: Flags, losses: Floats) -> None:
        self.one.hear(shadowed, audited, losses)
        self.other.hear(shadowed, audited, losses)


def check(seed: int, sessions: int = 2_000, rules: Rules | None = None) -> World:
    """One fleet, both machines, with the product's rules unless others are given.

    Raises AssertionError where they differ; returns the world they were tried on.
    """
    world, options = make(1, sessions, seed), RoutingOptions()
    run(world, Beside(Machine(world, rules or rules_of(options)), Product(world, options)), seed)
    return world
