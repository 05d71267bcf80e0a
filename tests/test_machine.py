"""The state machine as scripts of events: every way through it, and the same state from a replay."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.proxy.gate import alpha_for
from tutelage.proxy.machine import apply, next_trial, remaining_wait, replay, route_of, ruling, shares
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.states import (
    STATES,
    Configured,
    Event,
    Invalid,
    Operator,
    Passed,
    PatternState,
    Session,
    StudentRegistered,
    Transition,
    decode_event,
    encode_event,
)

NEW = StudentRegistered(at=1.0, version="lamp@1", k=1, single_turn=True, epsilon=0.10)


def sessions(kind: str, *losses: float) -> list[Event]:
    return [Session(at=float(i), kind=kind, session=f"{kind}{i}", loss=loss) for i, loss in enumerate(losses)]


def run(events: list[Event], state: PatternState | None = None) -> tuple[PatternState, list[Transition]]:
    state, seen = state or PatternState(), []
    for event in events:
        state, transitions = apply(state, event)
        seen += transitions
    return state, seen


def says(action: str, **more: Any) -> Operator:
    return Operator(at=9.0, action=action, actor="ada", reason="because", **more)


def in_canary(**changes: Any) -> PatternState:
    state, _ = run([msgspec.structs.replace(NEW, **changes), *sessions("shadow", *[0.0] * 100)])
    assert state.state == "canary"
    return state


def in_live(**changes: Any) -> PatternState:
    state, _ = run([says("promote")], in_canary(**changes))
    assert state.state == "live"
    return state


def story(transitions: list[Transition]) -> list[tuple[str, float, str]]:
    return [(t.after, t.share, t.reason) for t in transitions]


def test_a_good_single_turn_student_goes_all_the_way() -> None:
    """ε = .10: 44 clean sessions in shadow at α₁ = .0304, 25 at 10 %, and live after 44 in canary by its own gate."""
    state, seen = run([NEW, *sessions("shadow", *[0.0] * 44), *sessions("canary", *[0.0] * 60)])
    assert story(seen) == [
        ("shadow", 0.0, "student_registered"),
        ("canary", 0.10, "gate_crossed"),
        ("canary", 0.20, "ramp"),
        ("live", 1.0, "canary_gate_crossed"),
    ]
    assert seen[1].evidence["shadow"]["n"] == 44
    assert seen[1].evidence["shadow"]["wealth"] >= 1 / alpha_for(1, 0.05)
    assert seen[3].evidence["canary"]["n"] == 44
    assert state.share == 1.0


def test_single_turn_evidence_is_carried_over() -> None:
    """ε = .05: the canary gate alone would take 91 labels; 50 clean ones confirm what shadow has proven."""
    state = in_canary(epsilon=0.05)
    after, seen = run(sessions("canary", *[0.0] * 50), state)
    assert seen[-1].reason == "carried_over"
    assert after.canary is not None
    assert after.canary.n == 50


def test_multi_turn_students_certify_anew() -> None:
    state = in_canary(epsilon=0.05, single_turn=False)
    after, _ = run(sessions("canary", *[0.0] * 90), state)
    assert after.state == "canary"
    final, seen = run(sessions("canary", 0.0), after)
    assert final.state == "live"
    assert seen[-1].reason == "canary_gate_crossed"


def test_carry_over_wants_clean_sessions_and_wealth() -> None:
    """Losses at the limit: fifty sessions are not fifty clean ones."""
    losses = [1.0 if i % 17 == 3 else 0.0 for i in range(53)]
    after, _ = run(sessions("canary", *losses), in_canary(epsilon=0.05))
    assert (after.state, after.clean) == ("canary", 50)
    assert after.canary is not None
    assert after.canary.log_wealth < 0


def test_the_share_rises_only_within_the_exposure_cap() -> None:
    """ε = .05: after 25 clean sessions U = .187, and .2 · .187 > ε/2; it rises once U has fallen to .125."""
    state = in_canary(epsilon=0.05, single_turn=False)
    at_cap = None
    for i, event in enumerate(sessions("canary", *[0.0] * 80), start=1):
        state, seen = apply(state, event)
        if seen:
            at_cap = (i, seen[0].share, state.canary.interval().high if state.canary else 1.0)
            break
    assert at_cap is not None
    labels, share, upper = at_cap
    assert share == 0.20
    assert labels > 25
    assert 0.2 * upper <= 0.025
    assert state.step_sessions == 0


def test_a_futile_student_is_blocked_in_shadow_and_in_canary() -> None:
    state, seen = run([NEW, *sessions("shadow", *[1.0] * 10)])
    assert (state.state, seen[-1].reason, seen[-1].actor) == ("blocked", "futile", "gate")
    assert shares(state).serve == 0
    assert shares(state).shadow == 0.02
    state, seen = run(sessions("canary", *[1.0, 0.0] * 30), in_canary())
    assert state.state in ("blocked", "quarantined")
    assert state.share == 0


def test_the_guard_warns_calms_down_and_demotes() -> None:
    state = in_live(epsilon=0.05)
    assert shares(state) == (1.0, 0.0, 0.05)
    state, seen = run(sessions("live", 1.0, 1.0), state)
    assert [(t.kind, t.reason) for t in seen] == [("audit", "guard_warns")]
    assert shares(state).audit == 0.5
    state, seen = run(sessions("live", *[0.0] * 80), state)
    assert [t.reason for t in seen] == ["guard_calm"]
    assert shares(state).audit == 0.05
    state, seen = run(sessions("live", *[1.0] * 10), state)
    assert [t.reason for t in seen] == ["guard_warns", "guard"]
    assert (state.state, state.cooldown) == ("quarantined", 500 - 5)
    assert seen[-1].evidence["guard"]["m"] >= 1e4
    assert route_of(state, "x").share == 0


@pytest.mark.parametrize("state", [in_canary(), in_live()])
def test_unusable_answers_demote(state: PatternState) -> None:
    fine, _ = run([Invalid(n=300, bad=2)], state)
    assert fine.state == state.state
    bad, seen = run([Invalid(n=6, bad=6)], state)
    assert (bad.state, seen[0].reason) == ("quarantined", "invalid_output")


def test_unusable_answers_count_only_while_serving() -> None:
    state, seen = run([NEW, Invalid(n=50, bad=50)])
    assert (state.state, len(seen)) == ("shadow", 1)


def test_cooldown_is_inherited_and_waited_for() -> None:
    old, _ = run(sessions("live", *[1.0] * 30), in_live())
    assert old.state == "quarantined"
    old, _ = run([Passed(n=440)], old)
    wait = remaining_wait([old])
    assert 0 < wait < 60
    new, _ = run([msgspec.structs.replace(NEW, version="lamp@2", k=next_trial([old]), wait=wait)])
    assert new.k == 2
    new, _ = run(sessions("shadow", *[0.0] * (wait - 1)), new)
    assert new.state == "shadow"
    patient, _ = run([msgspec.structs.replace(NEW, k=2, wait=500), *sessions("shadow", *[0.0] * 100)])
    assert patient.shadow is not None
    assert patient.shadow.crossed
    assert patient.state == "shadow"
    assert run([Passed(n=400)], patient)[0].state == "canary"


def test_alpha_is_spent_over_trials() -> None:
    for k in (1, 2, 5):
        state, _ = run([msgspec.structs.replace(NEW, k=k)])
        assert state.shadow is not None
        assert state.shadow.alpha == alpha_for(k, 0.05)
    first = in_canary()
    assert first.canary is not None
    assert first.canary.alpha == alpha_for(1, 0.05)


def test_off_and_on_return_to_where_it_was() -> None:
    live = in_live()
    off, seen = run([says("off")], live)
    assert (off.state, shares(off).serve, seen[0].actor, seen[0].reason) == ("off", 0.0, "ada", "operator: because")
    assert run([says("off")], off)[1] == []
    late, _ = run(sessions("live", 1.0), off)
    assert (late.late, late.state) == (off.late + 1, "off")
    on, seen = run([says("on")], off)
    assert (on.state, on.share, on.guard) == ("live", 1.0, live.guard)
    assert seen[0].before == "off"


def test_off_before_a_student_exists() -> None:
    state, _ = run([says("off"), NEW])
    assert (state.state, state.resume) == ("off", "shadow")
    assert run([says("on")], state)[0].state == "shadow"


def test_hold_stops_promotion_but_not_demotion() -> None:
    held, _ = run([NEW, says("hold"), *sessions("shadow", *[0.0] * 100)])
    assert held.state == "shadow"
    released, seen = run([says("on")], held)
    assert (released.state, [t.reason for t in seen]) == ("canary", ["gate_crossed"])
    held, _ = run([NEW, says("hold"), *sessions("shadow", *[1.0] * 10)])
    assert held.state == "blocked"


def test_an_operator_may_promote_and_demote() -> None:
    state, seen = run([NEW, says("promote"), says("promote"), says("demote")])
    assert [t.after for t in seen] == ["shadow", "canary", "live", "quarantined"]
    assert {t.actor for t in seen[1:]} == {"ada"}
    assert run([says("promote")], state)[0].state == "quarantined"


def test_on_begins_a_new_trial_for_a_blocked_version() -> None:
    blocked, _ = run([NEW, *sessions("shadow", *[1.0] * 10)])
    again, _ = run([says("on", k=4)], blocked)
    assert (again.state, again.k, again.cooldown) == ("shadow", 4, 0)
    assert again.shadow is not None
    assert (again.shadow.n, again.shadow.alpha) == (0, alpha_for(4, 0.05))
    assert run([says("on")], blocked)[0].k == 2


def test_sessions_of_an_earlier_state_do_not_count() -> None:
    canary = in_canary()
    late, _ = run(sessions("shadow", 1.0, 1.0), canary)
    assert (late.late, late.shadow, late.canary) == (canary.late + 2, canary.shadow, canary.canary)
    live, _ = run(sessions("canary", 0.0), in_live())
    assert live.guard is not None
    assert live.guard.n == 1


def test_new_options_take_effect_through_an_event() -> None:
    state = in_live()
    more, _ = run([Configured(options=RoutingOptions(audit_share=0.2, alpha=0.5))], state)
    assert shares(more).audit == 0.2
    assert more.canary == state.canary


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (msgspec.structs.replace(NEW, version="lamp@2"), "a machine|machine"),
        (Session(kind="nightly", session="s", loss=0.0), "shadow, canary or live"),
        (Session(kind="live", session="s", loss=2.0), "loss lies in"),
        (says("explode"), "off, on, promote"),
        ("gossip", "routing event was expected"),
    ],
)
def test_senseless_events_are_refused(event: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply(in_live(), event)


def test_who_rules_a_pattern() -> None:
    live, shadow = in_live(), run([msgspec.structs.replace(NEW, k=2, version="lamp@2")])[0]
    assert ruling([live, shadow]) == live
    assert ruling([in_live(k=1), in_canary(k=2)]).k == 2
    assert ruling([live, run([says("off")], shadow)[0]]).state == "off"
    assert ruling([run([says("demote")], live)[0], shadow]) == shadow
    assert ruling([]).state == "observe"


EVENT = st.one_of(
    st.builds(Session, kind=st.sampled_from(["shadow", "canary", "live"]), session=st.just("s"), loss=st.floats(0, 1)),
    st.builds(Session, kind=st.sampled_from(["shadow", "canary", "live"]), session=st.just("s"), loss=st.just(0.0)),
    st.builds(lambda n, bad: Invalid(n=n, bad=min(n, bad)), st.integers(0, 20), st.integers(0, 3)),
    st.builds(Passed, n=st.integers(0, 300)),
    st.builds(says, st.sampled_from(["off", "on", "promote", "hold", "demote"])),
    st.builds(lambda share: Configured(options=RoutingOptions(audit_share=share)), st.floats(0, 1)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENT, max_size=60), st.booleans())
def test_invariants_and_replay(events: list[Event], single_turn: bool) -> None:
    log: list[Event] = [msgspec.structs.replace(NEW, single_turn=single_turn), *events]
    state, seen = run(log)
    assert state.state in STATES
    assert (shares(state).serve > 0) == (state.state in ("canary", "live"))
    assert state.events == len(log)
    where = "observe"
    for transition in seen:
        assert transition.before == where
        where = transition.after
        assert msgspec.json.decode(msgspec.json.encode(transition), type=Transition) == transition
    assert where == state.state
    assert replay([decode_event(encode_event(event)) for event in log]) == state
    assert msgspec.json.decode(msgspec.json.encode(state), type=PatternState) == state


def test_a_long_replay_is_equal_bit_for_bit() -> None:
    rng = random.Random(3)
    log: list[Event] = [NEW]
    for i in range(4_000):
        kind = rng.choice(["shadow", "canary", "live"])
        log.append(
            Session(at=i / 7, kind=kind, session=str(i), loss=rng.choice([0, 0, 0, 0, 0, 0, 0, 0, rng.random()]))
        )
    state, seen = run(log)
    again = replay(decode_event(encode_event(event)) for event in log)
    assert msgspec.json.encode(again) == msgspec.json.encode(state)
    assert len(seen) >= 3
