"""Further attempts at calls that did not reach their upstream.

Only what has certainly not been sent is tried again: no completion is paid twice. Everything else is the agent's to
repeat; its client library does. The budget keeps a failing upstream from being flooded: further attempts are at most a
share of all calls, and a few a minute where there are hardly any calls.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from .upstream import UpstreamError

Result = TypeVar("Result")

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
_BURST = 10.0
"""Most attempts that can be saved up."""
_QUIET_PER_S = 0.2
"""Attempts a second that are allowed however few calls there are."""


class Budget:
    """A token bucket: every call pays in `share`, every further attempt takes 1 out; time pays in a little, too."""

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`share` in [0, 1] of the calls; 0 forbids further attempts. `clock` counts seconds."""
        self._share, self._clock = share, clock
        self._saved, self._looked = _BURST, clock()

    def call(self) -> None:
        """A call begins."""
        self._saved += self._share

    def take(self) -> bool:
        """Whether a further attempt may be made; it is paid for then."""
        now = self._clock()
        self._saved = min(_BURST, self._saved + (now - self._looked) * _QUIET_PER_S)
        self._looked = now
        if self._saved < 1 or not self._share:
            return False
        self._saved -= 1
        return True


class Retries:
    """Makes further attempts until one reaches its upstream."""

    def __init__(
        self,
        retries: int,
        share: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: random.Random | None = None,
    ) -> None:
        """At most `retries` further attempts at one call, and `share` of all calls."""
        self.budget, self.made = Budget(share, clock), 0
        """`made` counts the further attempts."""
        self._retries, self._sleep, self._chance = retries, sleep, chance or random.Random()

    async def again(self, error: UpstreamError, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """The result of the first attempt that reaches the upstream, after one that ended with `error`.

        The call itself is told to `budget` by whoever makes it. Raises the last attempt's UpstreamError.
        """
        done = 0
        while _repeatable(error) and done < self._retries and self.budget.take():
            await self._sleep(self.pause_s(done))
            done += 1
            self.made += 1
            try:
                return await attempt()
            except UpstreamError as failure:
                error = failure
        raise error

    def pause_s(self, done: int) -> float:
        """Seconds to wait before the next attempt: full jitter, uniform in [0, min(2 s, 0.1 s * 2^done)].

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        return self._chance.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**done))


def _repeatable(error: UpstreamError) -> bool:
    return not error.sent and error.problem.status >= 500
