"""Remembered answers."""

import threading
import time

import pytest

from tutelage.proxy.memo import LEAST_S, MOST_KEYS, PAUSE, Memo


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_is_kept_ten_times_as_long_as_it_took() -> None:
    clock, made = Clock(), []
    memo = Memo(clock)

    def slow() -> int:
        clock.now += 2.0
        made.append(clock.now)
        return len(made)

    assert memo.get("key", slow) == 1
    clock.now += PAUSE * 2.0 - 0.1
    assert memo.get("key", slow) == 1
    clock.now += 0.2
    assert memo.get("key", slow) == 2


def test_a_quick_answer_is_kept_for_a_moment() -> None:
    clock, made = Clock(), []
    memo = Memo(clock)
    for wait, expected in ((0.0, 1), (LEAST_S / 2, 1), (LEAST_S, 2)):
        clock.now += wait
        memo.get("key", lambda: made.append(1))
        assert len(made) == expected


def test_an_error_is_not_remembered() -> None:
    memo = Memo(Clock())
    with pytest.raises(ZeroDivisionError):
        memo.get("key", lambda: 1 // 0)
    assert memo.get("key", lambda: 5) == 5


def test_what_is_slow_is_computed_beside() -> None:
    clock, done = Clock(), threading.Event()
    memo = Memo(clock)

    def slow() -> str:
        done.wait(10)
        return "answer"

    assert memo.later("key", slow, 60.0) is None
    assert memo.later("key", slow, 60.0) is None, "nobody waits, and it is computed once"
    done.set()
    assert memo.get("key", lambda: "another") == "answer", "get waits for what is under way"
    clock.now += 61.0
    assert memo.later("key", lambda: "newer", 60.0) == "answer", "the old one serves until the new one is there"


def test_who_starts_a_first_answer_may_wait_a_moment_for_it() -> None:
    memo, done = Memo(Clock()), threading.Event()
    assert memo.later("quick", lambda: "answer", 60.0, wait_s=10.0) == "answer"
    assert memo.later("slow", lambda: done.wait(10), 60.0, wait_s=0.01) is None
    done.set()
    assert memo.get("slow", lambda: False) is True


def test_one_thing_is_computed_beside_at_a_time() -> None:
    memo, running, most, lock = Memo(Clock()), [0], [0], threading.Lock()

    def work() -> str:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.02)
        with lock:
            running[0] -= 1
        return "done"

    for number in range(6):
        memo.later(number, work, 60.0)
    assert [memo.get(number, lambda: "anew") for number in range(6)] == ["done"] * 6
    assert most == [1]


def test_a_failure_beside_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    memo = Memo(Clock())
    memo.later("key", lambda: 1 // 0, 60.0)
    assert memo.get("key", lambda: 7) == 7
    assert "could not be computed" in caplog.text


def test_it_does_not_grow_without_end() -> None:
    memo, made = Memo(Clock()), []
    for key in range(MOST_KEYS + 5):
        memo.get(key, lambda: None)
    memo.get(0, lambda: made.append(0))
    memo.get(MOST_KEYS + 4, lambda: made.append(1))
    assert made == [0]
