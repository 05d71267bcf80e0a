"""The circuit breaker with a clock that is moved by hand."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.breaker import Breaker


class World:
    """A breaker for 4 failures in 10 s with a pause of 5 s, and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.breaker = Breaker(4, 10.0, 5.0, clock=lambda: self.now)

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.breaker.allow()
            self.breaker.failure()

    def succeed(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.breaker.allow()
            self.breaker.success()


@pytest.fixture
def world() -> World:
    return World()


def test_it_opens_at_enough_failures_and_refuses_for_the_pause(world: World) -> None:
    world.fail(3)
    assert world.breaker.state == "closed"
    world.fail()
    assert (world.breaker.state, world.breaker.retry_after_s) == ("open", 5)
    assert not world.breaker.allow()
    world.now += 4.2
    assert not world.breaker.allow()
    assert world.breaker.retry_after_s == 1
    assert world.breaker.report() == {"state": "open", "opened": 1, "refused": 2, "failed": 4}


def test_few_failures_among_many_calls_do_not_open_it(world: World) -> None:
    world.succeed(9)
    world.fail(8)
    assert world.breaker.state == "closed"
    world.fail()
    assert world.breaker.state == "open"


def test_failures_and_successes_leave_the_window(world: World) -> None:
    world.fail(3)
    world.now += 11.1
    world.fail()
    assert world.breaker.state == "closed"
    world.succeed(50)
    world.now += 11.1
    world.fail(4)
    assert world.breaker.state == "open"


def test_failures_over_the_whole_window_count_together(world: World) -> None:
    for _ in range(4):
        world.fail()
        world.now += 2.5
    assert world.breaker.state == "open"


def test_one_trial_after_the_pause_decides(world: World) -> None:
    world.fail(4)
    world.now += 5
    assert world.breaker.allow()
    assert world.breaker.state == "half_open"
    assert not world.breaker.allow()
    world.breaker.failure()
    assert world.breaker.state == "open"
    assert not world.breaker.allow()
    world.now += 5
    world.succeed()
    assert world.breaker.state == "closed"
    world.fail(3)  # what was before does not count any more
    assert world.breaker.state == "closed"
    assert world.breaker.counters.opened == 2


def test_a_cancelled_trial_lets_the_next_call_try(world: World) -> None:
    world.fail(4)
    world.now += 5
    assert world.breaker.allow()
    world.breaker.cancelled()
    world.succeed()
    assert world.breaker.state == "closed"


def test_a_trial_that_never_ends_is_followed_by_another(world: World) -> None:
    world.fail(4)
    world.now += 5
    assert world.breaker.allow()
    world.now += 4.9
    assert not world.breaker.allow()
    world.now += 0.1
    world.succeed()
    assert world.breaker.state == "closed"


def test_cancelling_a_call_of_a_working_upstream_means_nothing(world: World) -> None:
    world.fail(3)
    assert world.breaker.allow()
    world.breaker.cancelled()
    world.fail()
    assert world.breaker.state == "open"


def test_results_of_calls_from_before_do_not_end_the_pause(world: World) -> None:
    world.fail(4)
    world.breaker.success()
    world.breaker.failure()
    world.breaker.cancelled()
    assert (world.breaker.state, world.breaker.retry_after_s) == ("open", 5)


@pytest.mark.parametrize("status", [502, 503, 504])
def test_statuses_of_an_upstream_that_is_down(world: World, status: int) -> None:
    for _ in range(4):
        world.breaker.note(status)
    assert world.breaker.state == "open"


@pytest.mark.parametrize("status", [200, 400, 401, 404, 408, 429, 500, 529])
def test_every_other_status_is_an_answer(world: World, status: int) -> None:
    world.fail(3)
    for _ in range(20):
        world.breaker.note(status)
    assert world.breaker.state == "closed"


@given(st.lists(st.tuples(st.sampled_from(["success", "failure", "cancelled", "lost"]), st.floats(0, 3)), max_size=200))
def test_whatever_happens_a_working_upstream_is_used_again(steps: list[tuple[str, float]]) -> None:
    world = World()
    for result, passes in steps:
        world.now += passes
        if world.breaker.allow() and result != "lost":
            getattr(world.breaker, result)()
    refused = 0
    for _ in range(20):
        world.now += 1
        if world.breaker.allow():
            world.breaker.success()
        else:
            refused += 1
    assert world.breaker.state == "closed"
    assert refused <= 5


def test_it_costs_nearly_nothing_while_closed() -> None:
    breaker = Breaker(10, 10.0, 5.0)
    began = time.perf_counter()
    for _ in range(20_000):
        breaker.allow()
        breaker.success()
    assert (time.perf_counter() - began) / 20_000 < 20e-6  # about 0.3 µs; the rest is for busy machines
