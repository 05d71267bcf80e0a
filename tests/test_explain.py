"""What people are told about a state."""

import msgspec
import pytest

from tutelage.proxy.explain import explain
from tutelage.proxy.machine import apply
from tutelage.proxy.noise import SelfOdds
from tutelage.proxy.states import Event, Noisy, Operator, Passed, PatternState, Repeated, Session, StudentRegistered


def after(*events: Event, state: PatternState | None = None) -> PatternState:
    state = state or PatternState()
    for event in events:
        state = apply(state, event).state
    return state


def sessions(kind: str, n: int, loss: float = 0.0) -> list[Event]:
    return [Session(kind=kind, session=str(i), loss=loss) for i in range(n)]


NEW = StudentRegistered(version="lamp@1", single_turn=True, epsilon=0.05)
SHADOW = after(NEW, *sessions("shadow", 40))
CANARY = after(*sessions("shadow", 60), state=SHADOW)
LIVE = after(*sessions("canary", 50), state=CANARY)
BLOCKED = after(NEW, *sessions("shadow", 10, 1.0))
OFF = after(Operator(action="off", actor="ada"), state=LIVE)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (PatternState(), "waiting for a student version"),
        (SHADOW, "canary after 52 more sessions in shadow if all agree"),
        (CANARY, "live after 50 more audited sessions if all agree; 12% after 5 more"),
        (
            after(*sessions("canary", 15), state=CANARY),
            "live after 35 more audited sessions if all agree; 71% once its worst case",
        ),
        (LIVE, "demoted when M reaches 10,000 (now "),
        (after(*sessions("live", 3, 1.0), state=LIVE), "warning: audits are raised"),
        (BLOCKED, "a new student version after "),
        (OFF, "switched off; `routes resume` returns it to live"),
        (after(Operator(action="hold", actor="ada"), state=SHADOW), "held by an operator; canary after 52"),
        (after(msgspec.structs.replace(NEW, wait=500), *sessions("shadow", 100)), "proven; 400 sessions of cooldown"),
        (
            after(
                *sessions("canary", 75),
                state=after(msgspec.structs.replace(NEW, single_turn=False), *sessions("shadow", 95)),
            ),
            "live after 4 more audited sessions if all agree; 54% once its worst case",
        ),
    ],
)
def test_next(state: PatternState, text: str) -> None:
    assert text in explain(state)["next"]


@pytest.mark.parametrize("state", [PatternState(), SHADOW, CANARY, LIVE, BLOCKED, OFF])
def test_every_state_has_its_numbers(state: PatternState) -> None:
    found = explain(state)
    assert {"state", "student", "n", "losses", "risk", "interval", "wealth", "needed", "serve", "next"} <= found.keys()
    assert found["state"] == state.state
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


def test_the_evidence_shown_is_the_one_that_counts() -> None:
    assert explain(SHADOW)["n"] == 40
    assert explain(CANARY)["n"] == 0
    assert explain(after(*sessions("canary", 7), state=CANARY))["n"] == 7
    assert explain(after(*sessions("live", 2), state=LIVE))["n"] == 52
    assert explain(BLOCKED)["risk"] == 1
    assert explain(OFF)["n"] == 50
    assert explain(after(Operator(action="demote", actor="ada"), state=SHADOW))["n"] == 40


def test_a_relative_trial_says_what_it_is_and_where_it_ends() -> None:
    seen = SelfOdds(repeats=100, disagreements=30.0, margin=0.5, k=2)
    shadow = after(Noisy(seen=seen), state=BLOCKED)
    shown = explain(shadow)
    assert shown["next"].startswith("canary after 9 more sessions with two answers of the teacher")
    assert "exposure cap" in shown["blocks"][-1]
    assert (shown["expected"], shown["relative"]["margin"], shown["relative"]["n"]) == (None, 0.5, 0)
    test = shadow.relative
    assert test is not None
    for _ in range(test.even_needed()):
        test = test.update(0.0, 0.0)
    waiting = after(Repeated(test=test), state=shadow)
    assert explain(waiting)["next"].endswith("sessions of cooldown left")
    canary = after(Passed(n=500), state=waiting)
    assert canary.state == "canary"
    assert explain(canary)["next"].startswith("stays in canary: it is proven against the teacher's second answers only")
    assert explain(canary)["relative"]["ceiling"] == 0.5
