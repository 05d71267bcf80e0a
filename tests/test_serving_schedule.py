"""Turns: a flood of one version starves no other, in the line or in front of it."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.serving.schedule import QUANTUM, QueueFull, Slots, Ticket


def started(tickets: list[Ticket]) -> list[str]:
    return [ticket.version for ticket in tickets if ticket.started]


async def order(slots: Slots, tickets: list[Ticket]) -> list[str]:
    """Versions in the order in which their calls start, when each ends before the next one begins."""
    found, left = [], list(tickets)
    while left:
        running = next(ticket for ticket in left if ticket.started)
        found.append(running.version)
        left.remove(running)
        slots.leave(running)
    return found


def test_calls_start_at_once_until_the_slots_are_taken() -> None:
    async def go() -> None:
        slots = Slots(2, 4)
        tickets = [slots.enter("a", 100) for _ in range(4)]
        assert started(tickets) == ["a", "a"]
        assert (slots.running, slots.waiting) == (2, 2)
        slots.leave(tickets[0])
        assert tickets[2].turn.done()
        assert (slots.running, slots.waiting) == (2, 1)

    asyncio.run(go())


def test_a_flood_of_one_version_does_not_hold_another_up() -> None:
    async def go() -> None:
        slots = Slots(1, 100)
        tickets = [slots.enter("flood", QUANTUM) for _ in range(30)] + [slots.enter("b", QUANTUM) for _ in range(3)]
        assert await order(slots, tickets) == ["flood", *["flood", "b"] * 3, *["flood"] * 26]
        assert slots.waiting == slots.running == 0

    asyncio.run(go())


def test_long_calls_pay_for_their_length() -> None:
    async def go() -> None:
        slots = Slots(1, 200)
        blocker = slots.enter("x", 1)
        long = [slots.enter("long", 3 * QUANTUM) for _ in range(10)]
        short = [slots.enter("short", QUANTUM / 2) for _ in range(60)]
        slots.leave(blocker)
        first = Counter((await order(slots, long + short))[:28])
        assert first["short"] * QUANTUM / 2 == pytest.approx(first["long"] * 3 * QUANTUM, rel=0.35)

    asyncio.run(go())


def test_a_full_queue_takes_the_place_of_the_longest_line() -> None:
    async def go() -> None:
        slots = Slots(1, 4)
        flood = [slots.enter("flood", 1) for _ in range(5)]
        with pytest.raises(QueueFull):
            slots.enter("flood", 1)
        other = slots.enter("b", 1)
        assert isinstance(flood[-1].turn.exception(), QueueFull)
        slots.leave(flood[-1])
        more = slots.enter("b", 1)
        assert isinstance(flood[-2].turn.exception(), QueueFull)
        with pytest.raises(QueueFull):
            slots.enter("b", 1)  # both lines are equally long now
        assert slots.waiting == 4
        assert await order(slots, [*flood[:3], other, more]) == ["flood", "flood", "flood", "b", "b"]

    asyncio.run(go())


def test_who_leaves_the_line_is_never_called() -> None:
    async def go() -> None:
        slots = Slots(1, 4)
        first, second, third = (slots.enter(name, 1) for name in "aab")
        slots.leave(second)
        slots.leave(first)
        assert third.started
        assert not second.started
        assert second.turn.cancelled()

    asyncio.run(go())


def test_without_a_queue_nobody_waits() -> None:
    async def go() -> None:
        slots = Slots(1, 0)
        slots.enter("a", 1)
        with pytest.raises(QueueFull):
            slots.enter("b", 1)

    asyncio.run(go())


def test_versions_of_a_lane_take_turns_and_each_starts_its_calls_together() -> None:
    async def go() -> None:
        slots = Slots(3, 100, lambda version: "engine")
        tickets = [slots.enter(version, 1) for version in "abcabcab"]
        groups = []
        while running := [one for one in tickets if one.started and not one.turn.cancelled()]:
            groups.append("".join(one.version for one in running))
            for one in running:
                slots.leave(one)
                tickets.remove(one)
        # The first starts alone: nobody else was there.
        assert groups == ["a", "bbb", "cc", "aa"]

    asyncio.run(go())


def test_nobody_overtakes_whoever_waits_for_a_lane() -> None:
    async def go() -> None:
        slots = Slots(4, 100, lambda version: version[0])
        first = slots.enter("x1", 1)
        joined = slots.enter("x1", 1)
        other = slots.enter("x2", 1)
        late = slots.enter("x1", 1)
        elsewhere = slots.enter("y1", 1)
        assert started([first, joined, other, late, elsewhere]) == ["x1", "x1", "y1"]
        slots.leave(first)
        assert not other.started
        slots.leave(joined)
        assert started([other, late]) == ["x2"]
        slots.leave(other)
        assert late.started

    asyncio.run(go())


def test_a_flood_in_a_lane_gives_its_turn_away() -> None:
    async def go() -> None:
        slots = Slots(2, 100, lambda version: "engine")
        flood, other = [slots.enter("flood", QUANTUM) for _ in range(20)], slots.enter("b", QUANTUM)
        before = 0
        while not other.started:
            running = next(one for one in flood if one.started)
            slots.leave(running)
            flood.remove(running)
            before += 1
        assert before <= 4  # the two that ran, and one turn: a quantum for each slot

    asyncio.run(go())


def test_a_vote_takes_a_slot_for_each_answer_and_is_not_starved_by_small_calls() -> None:
    async def go() -> None:
        slots = Slots(4, 100)
        small = [slots.enter("a", 1) for _ in range(2)]
        vote, after = slots.enter("b", 1, 4), slots.enter("a", 1)
        assert (vote.started, after.started, slots.running) == (False, False, 2)
        slots.leave(small[0])
        assert not after.started
        slots.leave(small[1])
        assert (vote.started, slots.running) == (True, 4)
        slots.leave(vote)
        assert (after.started, slots.running) == (True, 1)
        assert slots.enter("c", 1, 8).places == 4

    asyncio.run(go())


_STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.floats(1, 9_000), st.booleans()), max_size=60)


_LANED = st.lists(st.tuples(st.sampled_from(["x1", "x2", "y1", "y2", "z"]), st.floats(1, 9_000), st.integers(1, 3)))


@given(st.integers(1, 4), _LANED, st.data())
def test_a_lane_is_one_versions_at_a_time_and_all_are_served(
    slots: int, calls: list[tuple[str, float, int]], data: st.DataObject
) -> None:
    async def go() -> None:
        line = Slots(slots, len(calls), lambda version: version[0] if version in ("x1", "x2", "y1", "y2") else "")
        left = [line.enter(*call) for call in calls]
        while left:
            running = [one for one in left if one.started]
            assert running
            assert line.running == sum(one.places for one in running) <= slots
            for lane in "xy":
                assert len({one.version for one in running if one.lane == lane}) <= 1
            ended = running[data.draw(st.integers(0, len(running) - 1))]
            left.remove(ended)
            line.leave(ended)
        assert line.running == line.waiting == 0

    asyncio.run(go())


@given(st.integers(1, 3), st.integers(0, 8), _STEPS)
def test_no_slot_is_idle_while_somebody_waits_and_none_is_lost(
    slots: int, queue: int, steps: list[tuple[str, float, bool]]
) -> None:
    async def go() -> None:
        line, inside = Slots(slots, queue), []
        for version, cost, leaves in steps:
            try:
                inside.append(line.enter(version, cost))
            except QueueFull:
                assert line.waiting == queue
            if leaves and inside:
                line.leave(inside.pop(0))
            inside = [one for one in inside if one.started or not one.turn.done()]
            assert line.running == sum(one.started for one in inside) <= slots
            assert line.waiting == sum(not one.started for one in inside) <= queue
            assert line.running == slots or not line.waiting
        for one in inside:
            line.leave(one)
        assert line.running == line.waiting == 0

    asyncio.run(go())
