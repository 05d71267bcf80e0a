"""The simulated fleet: patterns whose true risk is known, and what happens to each of their sessions.

One fleet has 60 patterns of 20,000 sessions. 35 of them have students of a risk below the limit, 25 have not, however
often they are retrained; 18 jump late to a risk of .4 or more. Half of the patterns are multi-turn: six calls a session
that fail together. Many fleets are simulated side by side, so every array has one lane per pattern of every fleet.

Invariant: the world does not know the policy. Risks, jumps, times of retraining and all draws are the same for each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

EPSILON = 0.05
"""Risk limit of every pattern."""
PRICE = 0.08
"""What a student's session costs where the teacher's costs 1."""
PATTERNS, BAD, JUMPING = 60, 25, 18
TURNS = 6
HARD = 0.85
"""Share of the calls that fail in a hard session of a multi-turn pattern."""
BLOCK = 500
"""Sessions for which random numbers are drawn at a time."""


@dataclass(frozen=True)
class World:
    """Fleets side by side. `lanes` is fleets × PATTERNS."""

    sessions: int
    """Of each pattern."""
    fleets: int
    risk: Floats
    """(versions, lanes): true risk of each student version on the traffic that it was trained for."""
    born: Ints
    """(versions, lanes): session from which the version exists; `sessions` or more: never."""
    jump: Ints
    """(lanes,): session at which the traffic changes; `sessions` or more: never."""
    after: Floats
    """(lanes,): risk, after the jump, of every version trained before it."""
    multi: Flags
    """(lanes,): multi-turn, the student meets states that it has made itself."""

    @property
    def lanes(self) -> int:
        """Patterns of all fleets."""
        return len(self.jump)

    def risk_at(self, session: int, version: Ints) -> Floats:
        """True risk of each lane's `version` in that session."""
        lane = np.arange(self.lanes)
        stale = (session >= self.jump) & (self.born[version, lane] < self.jump)
        return np.where(stale, self.after, self.risk[version, lane])

    def servable(self, session: int) -> Flags:
        """Where a version exists whose risk is below the limit: what an oracle would serve."""
        found = np.zeros(self.lanes, dtype=bool)
        for version in range(len(self.born)):
            exists = self.born[version] <= session
            found |= exists & (self.risk_at(session, np.full(self.lanes, version)) < EPSILON)
        return found


class Draw(NamedTuple):
    """Chance of one session in every lane, each of shape (lanes,)."""

    fails: Floats
    """Uniform: the session fails where this is below risk / `share`."""
    share: Floats
    """Mean loss of the session if it fails, over many: 1, or HARD where multi-turn."""
    loss: Floats
    """Loss of the session if it fails."""
    serve: Floats
    """Uniform: served by the student where this is below the share."""
    label: Floats
    """Uniform: compared where this is below the share that is compared."""

    def losses(self, risk: Floats) -> Floats:
        """Loss of each session, of mean `risk`."""
        return (self.fails < risk / self.share) * self.loss


def make(fleets: int, sessions: int, seed: int) -> World:
    """Draw the fleets. A fleet depends on the seed and its own number alone."""
    drawn = [_one(np.random.default_rng([seed, number]), sessions) for number in range(fleets)]
    risk, born, jump, after, multi = (np.concatenate(parts, axis=-1) for parts in zip(*drawn, strict=True))
    return World(sessions, fleets, risk, born, jump, after, multi)


def _one(rng: np.random.Generator, sessions: int) -> tuple[Floats, Ints, Ints, Floats, Flags]:
    good = np.arange(PATTERNS) < PATTERNS - BAD
    jump = np.full(PATTERNS, sessions)
    jump[rng.choice(PATTERNS, JUMPING, replace=False)] = (rng.uniform(0.5, 0.9, JUMPING) * sessions).astype(int)
    # Version 0 is there from the start. Bad patterns are retrained in vain three times; a good one is retrained on the
    # new traffic some time after its jump, two times in three with success.
    risk = np.array([np.where(good, _good(rng), _bad(rng)) for _ in range(4)])
    risk[1] = np.where(good & (rng.random(PATTERNS) > 2 / 3), _bad(rng), risk[1])
    born = np.outer(np.arange(4), np.full(PATTERNS, sessions // 4))
    born[1:, good] = sessions
    born[1] = np.where(good & (jump < sessions), jump + sessions * 3 // 40, born[1])
    after = rng.uniform(0.4, 0.8, PATTERNS)
    return risk, born, jump, after, rng.permutation(PATTERNS) % 2 == 0


def _good(rng: np.random.Generator) -> Floats:
    """Risks below the limit, a third of it on average; one in twenty-five is above .8 of it."""
    return EPSILON * rng.beta(1, 2, PATTERNS)


def _bad(rng: np.random.Generator) -> Floats:
    return rng.uniform(EPSILON, 4 * EPSILON, PATTERNS)


def draws(world: World, seed: int) -> Iterator[Draw]:
    """The chance of each session, the first to the last: the same for every policy."""
    rng = np.random.default_rng([seed, 1])
    share = np.where(world.multi, HARD, 1.0)
    for start in range(0, world.sessions, BLOCK):
        n = min(BLOCK, world.sessions - start)
        chance = rng.random((3, n, world.lanes))
        loss = np.where(world.multi, rng.binomial(TURNS, HARD, (n, world.lanes)) / TURNS, 1.0)
        for i in range(n):
            yield Draw(chance[0, i], share, loss[i], chance[1, i], chance[2, i])
