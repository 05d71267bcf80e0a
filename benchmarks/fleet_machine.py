"""The product's state machine in many lanes at once, each rule of it as a switch.

`Machine` follows proxy/machine.py; `fleet_product.check` compares the two session by session. Its `Rules` can be set
back to how the formulas were first given, one improvement at a time, which shows what each is worth.
"""

import math
from dataclasses import dataclass

import numpy as np

from tutelage.proxy.gate import KEPT
from tutelage.proxy.guard import CALM, MULTIPLES
from tutelage.proxy.options import RoutingOptions

from .fleet_bets import ALPHA, Bets, beta_bound, disproved
from .fleet_run import Wants
from .fleet_world import EPSILON, Flags, Floats, World

SHADOW, CANARY, LIVE, BLOCKED, QUARANTINED = range(5)
CLEAN, COOLDOWN = 50, 500
BLOCKED_SHADOW = 0.02
DEMOTE = 1e4


@dataclass(frozen=True)
class Rules:
    """Settings of `Machine`. The defaults are the formulas as they were given."""

    mixture: bool = False
    """Gate: a mixture of constant bets instead of one adaptive bet."""
    futility: float = 0.0
    """Give up versions that have proved to be too risky, at this level; 0: never."""
    carry_over: bool = True
    """Single-turn patterns go live on shadow's proof after 50 clean canary sessions."""
    steps: tuple[float, ...] = (0.10, 0.20, 0.40, 0.80)
    """Canary shares."""
    step_sessions: int = 25
    """Fewest audited sessions on each; with `bound` = `mixture` on the first."""
    bound: str = ""
    """What caps the next share, share × U ≤ exposure × ε: nothing; `beta`, U by the beta-binomial mixture; or
    `mixture`, U by the gate's own bets, for single-turn patterns on shadow and canary together, and then the share
    rises to the highest step that U allows."""
    exposure: float = 0.5
    """Before proof, the worst harm that the evidence allows is at most this share of the limit."""
    inherit: float = 0.0
    """Share of the canary's first fortune that is placed as shadow's ended; the rest as shadow's began."""
    audit: float = 0.05
    factor: float = 10.0
    """Audits are multiplied by this while the guard warns."""
    warn: float = 30.0
    """The guard warns from this level on; 0: from nine tenths of what one loss makes of the resting level."""
    whole: float = 1.0
    """Share of the error budget of shadow that is spent on the pattern as a whole; the rest is for thresholds."""


GIVEN = Rules()


def rules_of(options: RoutingOptions) -> Rules:
    """The product's."""
    return Rules(
        mixture=True,
        futility=options.futility_alpha,
        steps=options.ramp,
        step_sessions=options.ramp_sessions,
        bound="mixture",
        exposure=options.exposure_share,
        inherit=1 - KEPT,
        audit=options.audit_share,
        factor=options.audit_warn_factor,
        warn=options.guard_warn,
        whole=1 - options.confidence_alpha,
    )


class Machine:
    """State of every lane."""

    def __init__(self, world: World, rules: Rules) -> None:
        lanes = world.lanes
        self.rules, self.multi = rules, world.multi
        self.state = np.full(lanes, QUARANTINED)
        self.trial, self.cooldown, self.step, self.step_sessions, self.clean = np.zeros((5, lanes), dtype=np.int64)
        self.shadow, self.canary = Bets(lanes, rules.mixture), Bets(lanes, rules.mixture)
        self.crossed, self.warned = np.zeros((2, lanes), dtype=bool)
        self.share = np.zeros(lanes)
        self.steps = np.array(rules.steps)
        self.needed = np.full(lanes, math.inf)
        """Log-fortune that is proof for the present trial."""
        self.sums = np.zeros((lanes, len(MULTIPLES)))
        self.odds = np.array([(multiple - 1) / (1 - EPSILON) for multiple in MULTIPLES])
        rests = (1 - self.odds * EPSILON) / (self.odds * EPSILON)
        self.rest = float(rests.mean())
        self.warns_at = rules.warn or 0.9 * float(np.mean((rests + 1) * MULTIPLES))

    @property
    def serving(self) -> Flags:
        return (self.state == CANARY) | (self.state == LIVE)

    @property
    def live(self) -> Flags:
        return self.state == LIVE

    def begin(self, lanes: Flags) -> None:
        self.state[lanes] = SHADOW
        self.trial[lanes] += 1
        self.needed[lanes] = -np.log(6 * ALPHA / (math.pi * self.trial[lanes]) ** 2)
        self.crossed[lanes] = False
        self.shadow.begin(lanes)

    def wants(self) -> Wants:
        rules, live, canary = self.rules, self.state == LIVE, self.state == CANARY
        shadow = np.where(self.state == SHADOW, 1.0, np.where(self.state == BLOCKED, BLOCKED_SHADOW, 0.0))
        audit = np.where(self.warned, min(1.0, rules.audit * rules.factor), rules.audit)
        return Wants(np.where(live, 1.0, np.where(canary, self.share, 0.0)), shadow, np.where(canary, 1.0, audit))

    def hear(self, shadowed: Flags, audited: Flags, losses: Floats) -> None:
        self.cooldown = np.maximum(self.cooldown - 1, 0)
        tried = shadowed & (self.state == SHADOW)
        self.shadow.hear(tried, losses)
        self.crossed |= tried & (self.shadow.wealth >= self.needed - math.log(self.rules.whole))
        canary = audited & (self.state == CANARY)
        self.canary.hear(canary, losses)
        self.clean += canary & (losses <= EPSILON)
        self.step_sessions += canary
        self._watch(audited, losses)
        fallen = audited & (self.sums.mean(axis=1) >= DEMOTE)
        self._retreat(fallen, QUARANTINED)
        futile = np.zeros_like(fallen)
        if self.rules.futility:
            line = -math.log(self.rules.futility)
            futile = (tried & (self.shadow.futility >= line)) | (canary & ~fallen & (self.canary.futility >= line))
            self._retreat(futile, BLOCKED)
        self._enter(self.crossed & (self.state == SHADOW) & (self.cooldown == 0))
        self._rise(canary & ~fallen & ~futile)

    def _watch(self, audited: Flags, losses: Floats) -> None:
        i = np.flatnonzero(audited)
        if not i.size:
            return
        # Capped far above the threshold: nothing depends on more.
        self.sums[i] = np.minimum((self.sums[i] + 1) * (1 + self.odds * (losses[i, None] - EPSILON)), 1e9)
        level = self.sums[i].mean(axis=1)
        line = np.where(self.warned[i], self.rest + CALM, self.warns_at)
        self.warned[i] = level >= line

    def _retreat(self, lanes: Flags, state: int) -> None:
        self.state[lanes] = state
        self.cooldown[lanes] = COOLDOWN

    def _enter(self, lanes: Flags) -> None:
        if not lanes.any():
            return
        part = self.rules.inherit
        start = np.exp(self.shadow.start[lanes])
        self.canary.begin(lanes, part * self.shadow.shares(lanes) + (1 - part) * start)
        self.state[lanes] = CANARY
        self.share[lanes] = self.steps[0]
        for counts in (self.step, self.step_sessions, self.clean):
            counts[lanes] = 0
        self.sums[lanes] = 0
        self.warned[lanes] = False

    def _rise(self, canary: Flags) -> None:
        if not canary.any():
            return
        wins = self.canary.wealth > 0
        carried = ~self.multi & (self.clean >= CLEAN) & wins & self.rules.carry_over
        proven = canary & (carried | (self.canary.wealth >= self.needed))
        self.state[proven] = LIVE
        # A share that follows its bound waits on its first step only.
        rested = (self.step_sessions >= self.rules.step_sessions) | ((self.step > 0) & (self.rules.bound == "mixture"))
        self._climb(canary & ~proven & wins & rested)

    def _climb(self, lanes: Flags) -> None:
        i = np.flatnonzero(lanes & (self.step + 1 < len(self.steps)))
        if not i.size:
            return
        cap, reached = EPSILON * self.rules.exposure, self.step[i] + 1
        if self.rules.bound == "beta":
            worst = beta_bound(self.canary.total[i], self.canary.n[i])
            reached = np.where(self.steps[reached] * worst <= cap, reached, self.step[i])
        elif self.rules.bound == "mixture":
            pooled = ~self.multi[i]
            losses = self.canary.total[i] + pooled * self.shadow.total[i]
            within = disproved(losses, self.canary.n[i] + pooled * self.shadow.n[i], cap / self.steps)
            reached = np.maximum(within.sum(axis=1) - 1, self.step[i])
        rises = reached > self.step[i]
        self.step[i], self.share[i] = reached, self.steps[reached]
        self.step_sessions[i] = np.where(rises, 0, self.step_sessions[i])
