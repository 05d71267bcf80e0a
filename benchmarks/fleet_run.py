"""One policy on one world: who serves each session, what it costs, and what it does to people.

A session served by the teacher costs 1, and PRICE more when the student is compared on it; one served by the student
costs PRICE, and 1 more when the teacher audits it.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from .fleet_world import EPSILON, PATTERNS, PRICE, Flags, Floats, World, draws

PHASES = ("waiting", "canary", "live", "student not servable")
"""Where a saving is lost: before the canary, in it, by audits, and on students that nobody should serve."""


class Wants(NamedTuple):
    """What a policy asks for, as shares in [0, 1] of each lane's sessions."""

    serve: Floats
    """Served by the student."""
    shadow: Floats
    """Of those served by the teacher: compared."""
    audit: Floats
    """Of those served by the student: compared."""


class Seen(NamedTuple):
    """One session in every lane, as it went. Flags but for `risk` and `losses`."""

    risk: Floats
    """True risk of the version in place."""
    losses: Floats
    served: Flags
    """By the student."""
    compared: Flags
    was_live: Flags
    was_serving: Flags
    live: Flags
    """After the labels of this session."""


class Policy(Protocol):
    """Decides for every lane from labels alone."""

    @property
    def serving(self) -> Flags:
        """Lanes on trial with agents or live: they take no new version."""
        ...

    @property
    def live(self) -> Flags:
        """Lanes that the student has for good."""
        ...

    def begin(self, lanes: Flags) -> None:
        """A student version is there for these lanes: the first one, or the next."""
        ...

    def wants(self) -> Wants:
        """What to do with the next session."""
        ...

    def hear(self, shadowed: Flags, audited: Flags, losses: Floats) -> None:
        """Labels of this session where a flag is set; `losses` elsewhere must not be looked at."""
        ...


@dataclass(frozen=True)
class Outcome:
    """Figures by fleet, each of shape (fleets,)."""

    saved: Floats
    """Share of the teacher's cost."""
    bad_promoted: Floats
    """Patterns on which a version went live whose risk at that moment was at the limit or above."""
    bad_time: Floats
    """Share of all sessions in which a pattern was live with a risk at the limit or above."""
    harm: Floats
    """Lost sessions per session."""
    to_demote: Floats
    """Sessions from a jump to the end of live, one entry per pattern that was live when it jumped (not by fleet)."""
    losses: dict[str, float]
    """Where the saving was lost against the oracle, as shares of the teacher's cost, over all fleets."""


def run(world: World, policy: Policy, seed: int) -> Outcome:
    """Simulate every session of every lane."""
    tally = _Tally(world)
    version = np.zeros(world.lanes, dtype=np.int64)
    policy.begin(np.ones(world.lanes, dtype=bool))
    lanes, last = np.arange(world.lanes), len(world.born) - 1
    for session, draw in enumerate(draws(world, seed)):
        newer = np.minimum(version + 1, last)
        fresh = (newer > version) & (world.born[newer, lanes] <= session) & ~policy.serving
        if fresh.any():
            version = np.where(fresh, newer, version)
            policy.begin(fresh)
        risk = world.risk_at(session, version)
        losses = draw.losses(risk)
        wants, was_live, was_serving = policy.wants(), policy.live.copy(), policy.serving.copy()
        served = draw.serve < wants.serve
        audited = served & (draw.label < wants.audit)
        shadowed = ~served & (draw.label < wants.shadow)
        policy.hear(shadowed, audited, losses)
        tally.count(session, Seen(risk, losses, served, shadowed | audited, was_live, was_serving, policy.live))
    return tally.outcome()


class _Tally:
    def __init__(self, world: World) -> None:
        self.world = world
        self.cost, self.harm, self.bad_time, self.bad_promoted = np.zeros((4, world.lanes))
        self.ended = np.full(world.lanes, -1)
        self.live_at_jump = np.zeros(world.lanes, dtype=bool)
        self.lost = np.zeros(len(PHASES))

    def count(self, session: int, seen: Seen) -> None:
        self.live_at_jump |= (self.world.jump == session) & seen.was_live
        self.ended = np.where(self.live_at_jump & (self.ended < 0) & ~seen.live, session, self.ended)
        cost = np.where(seen.served, PRICE + seen.compared, 1 + PRICE * seen.compared)
        bad = seen.risk >= EPSILON
        self.cost += cost
        self.harm += seen.served * seen.losses
        self.bad_time += seen.was_live & bad
        self.bad_promoted += seen.live & ~seen.was_live & bad
        phase = np.where(bad, 3, seen.was_live * 1 + (seen.was_serving | seen.was_live))
        self.lost += np.bincount(phase, weights=cost - np.where(bad, 1, PRICE), minlength=len(PHASES))

    def outcome(self) -> Outcome:
        fleets, sessions = self.world.fleets, self.world.sessions
        total = PATTERNS * sessions

        def by_fleet(x: Floats) -> Floats:
            return x.reshape(fleets, PATTERNS).sum(axis=1)

        ended = np.where(self.ended < 0, sessions, self.ended)
        return Outcome(
            saved=1 - by_fleet(self.cost) / total,
            bad_promoted=by_fleet((self.bad_promoted > 0).astype(float)),
            bad_time=by_fleet(self.bad_time) / total,
            harm=by_fleet(self.harm) / total,
            to_demote=(ended - self.world.jump)[self.live_at_jump].astype(float),
            losses={name: float(lost) / (total * fleets) for name, lost in zip(PHASES, self.lost, strict=True)},
        )


class Teacher:
    """Never a student."""

    def __init__(self, lanes: int) -> None:
        self.none = np.zeros(lanes)
        self.serving = self.live = self.none > 0

    def begin(self, lanes: Flags) -> None: ...

    def wants(self) -> Wants:
        return Wants(self.none, self.none, self.none)

    def hear(self, shadowed: Flags, audited: Flags, losses: Floats) -> None: ...


class Student(Teacher):
    """Always the student, the newest version of it, unwatched."""

    def __init__(self, lanes: int) -> None:
        super().__init__(lanes)
        self.all = np.ones(lanes)
        self.live = self.all > 0

    def wants(self) -> Wants:
        return Wants(self.all, self.none, self.none)


class Oracle(Teacher):
    """Serves exactly while a version exists whose true risk is below the limit; compares nothing."""

    def __init__(self, world: World) -> None:
        super().__init__(world.lanes)
        self.world, self.session = world, -1

    def wants(self) -> Wants:
        self.session += 1
        self.live = self.world.servable(self.session)
        return Wants(self.live.astype(float), self.none, self.none)
