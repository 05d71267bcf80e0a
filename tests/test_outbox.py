"""The queue between an agent and the server: order, outages, bounds, ends and forks."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tutelage.plugins.outbox import Outbox, Parcel, Receipt


class Postman:
    """Takes parcels as told: each receipt answers one delivery, and then everything arrives."""

    def __init__(self, *receipts: Receipt) -> None:
        self.receipts = list(receipts)
        self.got: list[bytes] = []
        self.rounds: list[int] = []
        self.open = threading.Event()
        self.open.set()

    def __call__(self, parcels: Sequence[Parcel]) -> Receipt:
        self.open.wait(10)
        self.rounds.append(len(parcels))
        receipt = self.receipts.pop(0) if self.receipts else Receipt()
        if not receipt.again:
            self.got += [parcel.body for parcel in parcels]
        return receipt


@contextmanager
def outbox(postman: Callable[[Sequence[Parcel]], Receipt], **settings: Any) -> Iterator[Outbox]:
    made = Outbox(postman, **{"first_pause_s": 0.01, **settings})
    try:
        yield made
    finally:
        made.close(0.1)


def test_everything_arrives_in_order() -> None:
    postman = Postman()
    bodies = [f"{number}".encode() for number in range(500)]
    with outbox(postman) as box:
        assert all(box.put("a" if number % 7 else "b", body) for number, body in enumerate(bodies))
        assert box.flush()
        assert postman.got == bodies
        assert (box.stats.put, box.stats.delivered, box.stats.waiting, box.stats.dropped) == (500, 500, 0, 0)


def test_parcels_of_a_kind_travel_together_within_limits() -> None:
    postman = Postman()
    postman.open.clear()
    with outbox(postman, most=3, most_bytes=100) as box:
        box.put("first", b"x")
        for kind, size in (("a", 1), ("a", 1), ("a", 1), ("a", 1), ("b", 1), ("c", 80), ("c", 30), ("c", 500)):
            box.put(kind, b"x" * size)
        postman.open.set()
        assert box.flush()
    assert postman.rounds == [1, 3, 1, 1, 1, 1, 1]


def test_what_fails_is_sent_again_and_nothing_is_lost_or_reordered() -> None:
    failing = [Receipt(again=True, problem="down")] * 6
    postman = Postman(*failing)
    with outbox(postman) as box:
        for number in range(20):
            box.put("a", b"%d" % number)
        assert box.flush(20)
        assert postman.got == [b"%d" % number for number in range(20)]
        assert box.stats.problem == ""


def test_the_server_may_say_how_long_to_wait() -> None:
    postman = Postman(Receipt(again=True, after_s=0.2))
    with outbox(postman) as box:
        started = time.monotonic()
        box.put("a", b"x")
        while not postman.got:
            time.sleep(0.01)
        assert time.monotonic() - started >= 0.2


def test_refused_parcels_are_counted_and_do_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    postman = Postman(Receipt(refused=1, problem="no such field"), Receipt(refused=1, problem="again"))
    with outbox(postman, most=1) as box:
        for body in (b"1", b"2", b"3"):
            box.put("a", body)
        assert box.flush()
        assert (box.stats.refused, box.stats.delivered) == (2, 1)
    assert [record.message for record in caplog.records] == [
        "Tutelage: the server refuses what the agent reports. no such field"
    ]


def test_a_full_queue_lets_go_what_comes_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    postman = Postman()
    postman.open.clear()
    with outbox(postman, limit_bytes=1000) as box:
        taken = [box.put("a", b"x" * 100) for _ in range(5)]
        assert taken == [True, True, True, False, False]
        assert (box.stats.dropped, box.stats.waiting, box.stats.waiting_bytes) == (2, 3, 900)
        postman.open.set()
        assert box.flush()
        assert box.put("a", b"x")
    assert len([record for record in caplog.records if "let go" in record.message]) == 1


def test_a_server_that_never_comes_back_costs_the_agent_nothing_but_what_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    postman = Postman(*[Receipt(again=True, problem="down")] * 100_000)
    box = Outbox(postman, first_pause_s=0.01, exit_s=0.1)
    for _ in range(50):
        assert box.put("a", b"x")
    assert not box.flush(0.05)
    assert not box.close()
    assert (box.stats.dropped, box.stats.delivered) == (50, 0)
    assert not box.put("a", b"late")
    assert "50 reports of the agent were not delivered. down" in caplog.text


def test_many_threads_put_at_once() -> None:
    postman = Postman()
    with outbox(postman) as box:
        threads = [
            threading.Thread(target=lambda at=at: [box.put("a", b"%d/%d" % (at, one)) for one in range(200)])
            for at in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert box.flush()
    assert len(postman.got) == len(set(postman.got)) == 1600


def test_a_forked_child_begins_anew_with_a_thread_of_its_own() -> None:
    with outbox(Postman()) as box:
        box.put("a", b"parent")
        assert box.flush()
        read, write = os.pipe()
        child = os.fork()
        if not child:
            arrived = box.put("a", b"child") and box.flush()
            os.write(write, b"yes" if arrived else b"no")
            os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:
            assert pipe.read() == b"yes"
        os.waitpid(child, 0)


EXIT = """
import sys
from tutelage.plugins.outbox import Outbox, Receipt
def deliver(parcels):
    print(*[parcel.body.decode() for parcel in parcels], flush=True)
    return Receipt(again=sys.argv[1] == "down")
box = Outbox(deliver, exit_s=0.3)
box.put("a", b"last words")
"""


@pytest.mark.parametrize("state", ["up", "down"])
def test_the_end_of_the_process_waits_for_it_but_not_for_ever(state: str) -> None:
    command = [sys.executable, "-c", EXIT, state]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[0] == "last words"
    assert ("1 reports of the agent were not delivered" in done.stderr) == (state == "down")
