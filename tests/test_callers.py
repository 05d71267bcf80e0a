"""Callers: who they are, and that an acceptance is shared by the workers and inherited by nobody."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy import callers
from tutelage.proxy.callers import AcceptedCallers, caller_of, caller_of_key

SECRET = b"s" * 32
START = 1_800_000_000.0


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(clock: Clock) -> Iterator[AcceptedCallers]:
    opened = AcceptedCallers(60, clock=clock)
    yield opened
    opened.close()


def test_the_caller_is_a_keyed_hash_of_the_key() -> None:
    caller = caller_of({"authorization": "Bearer sk-1"}, SECRET)
    assert len(caller) == 16
    assert caller == caller_of({"authorization": "bearer  sk-1 "}, SECRET) == caller_of({"x-api-key": "sk-1"}, SECRET)
    assert caller != caller_of({"authorization": "Bearer sk-2"}, SECRET)
    assert caller != caller_of({"authorization": "Bearer sk-1"}, b"t" * 32)
    assert caller_of({}, SECRET) == ""


def test_the_caller_of_a_key_of_ours_is_nobody_elses() -> None:
    caller = caller_of_key("key_1", SECRET)
    assert len(caller) == 16
    assert caller == caller_of_key("key_1", SECRET)
    assert caller not in (caller_of_key("key_2", SECRET), caller_of_key("key_1", b"t" * 32))
    assert caller != caller_of({"authorization": "Bearer key_1"}, SECRET), "an agent could pose as one of our keys"


def test_acceptance_is_learnt_forgotten_and_revoked(table: AcceptedCallers, clock: Clock) -> None:
    assert not table.accepted("a")
    table.note("a", 500)
    assert not table.accepted("a")
    table.note("a", 200)
    table.note("a", 429)
    assert table.accepted("a")
    assert not table.accepted("b")
    assert not table.accepted("")
    clock.now += 60.0
    assert not table.accepted("a")
    table.note("a", 200)
    assert table.accepted("a")
    table.note("a", 401)
    assert not table.accepted("a")


def test_a_clock_that_goes_back_accepts_nobody(table: AcceptedCallers, clock: Clock) -> None:
    table.note("a", 200)
    clock.now -= 1.0
    assert not table.accepted("a")
    table.note("a", 200)
    assert table.accepted("a")


def test_a_memory_without_end_still_starts_empty_and_forgets_the_revoked() -> None:
    table = AcceptedCallers(1e12)
    assert not table.accepted("a")
    table.note("a", 200)
    table.note("a", 403)
    assert not table.accepted("a")
    table.close()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_an_unknown_caller_is_no_error(table: AcceptedCallers, status: int) -> None:
    table.note("a", status)
    assert not table.accepted("a")


def row_of(caller: str) -> int:
    return callers._place(caller).row


def of_one_row(count: int) -> list[str]:
    """So many callers that fall into the row of caller `0`."""
    found, number, row = ["0"], 0, row_of("0")
    while len(found) < count:
        number += 1
        if row_of(str(number)) == row:
            found.append(str(number))
    return found


def test_a_full_row_forgets_its_oldest_caller_and_accepts_no_other(table: AcceptedCallers, clock: Clock) -> None:
    one_row = of_one_row(callers.PLACES + 2)
    *fitting, fifth, stranger = one_row
    for caller in fitting:
        clock.now += 1.0
        table.note(caller, 200)
    assert all(table.accepted(caller) for caller in fitting)
    assert not table.accepted(fifth), "a collision must not lend an acceptance"
    clock.now += 1.0
    table.note(fitting[0], 200)
    table.note(fifth, 200)
    accepted = [table.accepted(caller) for caller in one_row]
    assert accepted == [True, False, True, True, True, False], "the one not heard of for longest gave its place"
    table.note(stranger, 401)
    assert [table.accepted(caller) for caller in one_row] == accepted


def test_a_caller_written_twice_is_revoked_everywhere(table: AcceptedCallers) -> None:
    """Two workers may learn of a caller in the same moment, each taking another place."""
    table.note("a", 200)
    place = callers._place("a")
    (at,) = table._found(place)
    twin = next(word for word in range(place.row, place.row + 12, 3) if word != at)
    table._hashes[twin], table._hashes[twin + 1], table._times[twin + 2] = place.high, place.low, START
    table.note("a", 401)
    table.note(next(other for other in of_one_row(2)), 200)
    assert not table.accepted("a")


@given(accepted=st.sets(st.text(max_size=20), max_size=30), others=st.sets(st.text(max_size=20), max_size=30))
def test_only_who_was_accepted_is(accepted: set[str], others: set[str]) -> None:
    table = AcceptedCallers(60, clock=lambda: START)
    for caller in accepted:
        table.note(caller, 200)
    assert all(table.accepted(caller) for caller in accepted)
    assert not any(table.accepted(caller) for caller in others - accepted)
    table.close()


def test_what_one_process_learns_another_knows_also_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "callers.bin"
    learn = "import sys; from pathlib import Path; from tutelage.proxy.callers import AcceptedCallers as A; "
    learn += "A(60, path=Path(sys.argv[1])).note(sys.argv[2], int(sys.argv[3]))"
    here = AcceptedCallers(60, path=path)
    for status, accepted in ((200, True), (401, False), (200, True)):
        subprocess.run([sys.executable, "-c", learn, str(path), "caller-1", str(status)], check=True)
        assert here.accepted("caller-1") is accepted
        assert not here.accepted("caller-2")
    here.close()
    later = AcceptedCallers(60, path=path)
    assert later.accepted("caller-1")
    later.close()
    assert b"caller-1" not in path.read_bytes()


CROWD = """
import random, sys, time
from pathlib import Path
from tutelage.proxy.callers import AcceptedCallers
table, end = AcceptedCallers(3600, path=Path(sys.argv[1])), float(sys.argv[2])
good, dice, wrong, rounds = sys.argv[3].split(","), random.Random(int(sys.argv[4])), 0, 0
while time.time() < end:
    table.note(dice.choice(good), 200)
    wrong += any(table.accepted("x" + caller) for caller in good)
    rounds += 1
print(wrong, rounds)
"""


def test_workers_that_fight_for_one_row_never_accept_a_stranger(tmp_path: Path) -> None:
    path, good = tmp_path / "callers.bin", ",".join(of_one_row(8))
    command = [sys.executable, "-c", CROWD, str(path), str(time.time() + 3.0), good]
    running = [subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, text=True) for seed in range(4)]
    counts = [process.communicate(timeout=60)[0].split() for process in running]
    assert [int(wrong) for wrong, _ in counts] == [0] * 4
    assert sum(int(rounds) for _, rounds in counts) > 1000
    table = AcceptedCallers(3600, path=path)
    kept = [caller for caller in good.split(",") if table.accepted(caller)]
    assert 1 <= len(kept) <= callers.PLACES
    table.close()
