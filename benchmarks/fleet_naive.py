"""What people do instead of a gate: promote on a mean, demote on a rolling mean."""

import numpy as np

from .fleet_run import Wants
from .fleet_world import EPSILON, Flags, Floats


class Naive:
    """Shadow until the mean of all labels (from 30 on) passes a test; then live, audited, until the mean of the last 50
    audits fails the same test turned around. `z` is the number of standard errors the mean must clear: 0 is the point
    estimate, 1.645 a z-test at 5 %, both asked after every label."""

    AUDIT, WINDOW = 0.05, 50

    def __init__(self, lanes: int, z: float) -> None:
        self.z = z
        self.live = np.zeros(lanes, dtype=bool)
        self.n, self.total = np.zeros((2, lanes))
        self.audits = np.zeros(lanes, dtype=np.int64)
        self.window = np.zeros((lanes, self.WINDOW))

    @property
    def serving(self) -> Flags:
        return self.live

    def begin(self, lanes: Flags) -> None:
        self.n[lanes] = self.total[lanes] = 0

    def wants(self) -> Wants:
        live = self.live.astype(float)
        return Wants(live, 1 - live, live * self.AUDIT)

    def hear(self, shadowed: Flags, audited: Flags, losses: Floats) -> None:
        self.n += shadowed
        self.total += np.where(shadowed, losses, 0)
        n = np.maximum(self.n, 1)
        mean = self.total / n
        passed = shadowed & (n >= 30) & (mean + self.z * np.sqrt(mean * (1 - mean) / n) < EPSILON)
        self.live |= passed
        self.audits[passed] = 0
        heard = np.flatnonzero(audited)
        self.window[heard, self.audits[heard] % self.WINDOW] = losses[heard]
        self.audits[heard] += 1
        recent = self.window.mean(axis=1)
        spread = self.z * np.sqrt(recent * (1 - recent) / self.WINDOW)
        fell = audited & (self.audits >= self.WINDOW) & (recent - spread > EPSILON)
        self.live &= ~fell
        self.begin(fell)
