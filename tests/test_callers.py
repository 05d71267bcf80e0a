import pytest

from tutelage.proxy import callers
from tutelage.proxy.callers import AcceptedCallers, caller_of

SECRET = b"s" * 32


def test_the_caller_is_a_keyed_hash_of_the_key() -> None:
    caller = caller_of({"authorization": "Bearer sk-1"}, SECRET)
    assert len(caller) == 16
    assert caller == caller_of({"authorization": "bearer  sk-1 "}, SECRET) == caller_of({"x-api-key": "sk-1"}, SECRET)
    assert caller != caller_of({"authorization": "Bearer sk-2"}, SECRET)
    assert caller != caller_of({"authorization": "Bearer sk-1"}, b"t" * 32)
    assert caller_of({}, SECRET) == ""


def test_acceptance_is_learnt_forgotten_and_revoked() -> None:
    now = 0.0
    accepted = AcceptedCallers(60, clock=lambda: now)
    assert not accepted.accepted("a")
    accepted.note("a", 500)
    assert not accepted.accepted("a")
    accepted.note("a", 200)
    accepted.note("a", 429)
    assert accepted.accepted("a")
    assert not accepted.accepted("b")
    now = 60.0
    assert not accepted.accepted("a")
    accepted.note("a", 200)
    accepted.note("a", 401)
    assert not accepted.accepted("a")


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_an_unknown_caller_is_no_error(status: int) -> None:
    accepted = AcceptedCallers(60)
    accepted.note("a", status)
    assert not accepted.accepted("a")


def test_memory_is_bounded() -> None:
    accepted = AcceptedCallers(60)
    for number in range(callers.LIMIT + 1):
        accepted.note(str(number), 200)
    assert not accepted.accepted("0")
    assert accepted.accepted("1")
