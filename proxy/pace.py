"""A limit on how often something is begun."""

import asyncio
import time
from collections.abc import Awaitable, Callable


class Pace:
    """Turns at least 1/`per_second` seconds apart; 0 is no limit. For one event loop."""

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._gap = 1 / per_second if per_second > 0 else 0.0
        self._clock, self._sleep = clock, sleep
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for one's turn. The turns are given away in the order of asking."""
        if not self._gap:
            return
        now = self._clock()
        # Nothing is saved up over a quiet time: a burst would be what the limit is there to prevent.
        mine = max(now, self._next)
        self._next = mine + self._gap
        if mine > now:
            await self._sleep(mine - now)
