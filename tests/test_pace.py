"""Turns in time."""

import asyncio

from tutelage.proxy.pace import Pace


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 100.0, []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def test_turns_are_spread_and_nothing_is_saved_up() -> None:
    clock = Clock()

    async def work() -> None:
        pace = Pace(4.0, clock, clock.sleep)
        for _ in range(3):
            await pace.turn()
        clock.now += 60.0
        for _ in range(2):
            await pace.turn()

    asyncio.run(work())
    assert clock.slept == [0.25, 0.5, 0.25]


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    asyncio.run(Pace(0.0, clock, clock.sleep).turn())
    assert clock.slept == []
