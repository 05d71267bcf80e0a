"""The state machine as scripts of events: every way through it, and the same state from a replay."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.proxy.gate import Gate, alpha_for, upper_bound
from tutelage.proxy.judged import JudgedGate
from tutelage.proxy.machine import apply, decide, replay, reproduced
from tutelage.proxy.noise import NoiseTest, SelfOdds
from tutelage.proxy.options import RoutingOptions
from tutelage.proxy.ramp import allowed_share, shares
from tutelage.proxy.states import (
    ACTIONS,
    STATES,
    Configured,
    Event,
    Invalid,
    Judged,
    Noisy,
    Operator,
    Passed,
    PatternState,
    Relabelled,
    Repeated,
    Session,
    StudentRegistered,
    Transition,
    decode_event,
    encode_event,
)

NEW = StudentRegistered(at=1.0, version="lamp@1", k=1, single_turn=True, epsilon=0.10)
WHOLE = 1 - RoutingOptions().confidence_alpha
"""Share of the error budget that the gate on the whole pattern has."""


def clean(epsilon: float) -> tuple[int, int]:
    """Sessions without a loss that the proof in shadow takes, and then the one in canary."""
    shadow = Gate(epsilon=epsilon, alpha=WHOLE * alpha_for(1, 0.05))
    n = shadow.clean_needed()
    learned = shadow.fold([0.0] * n).learned()
    return n, Gate(epsilon=epsilon, alpha=alpha_for(1, 0.05), weights=learned).clean_needed()


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
    """Live by proof, with the guard's memory of the canary's clean sessions."""
    state, _ = run(sessions("canary", *[0.0] * 60), in_canary(**changes))
    assert (state.state, state.forced) == ("live", False)
    return state


def story(transitions: list[Transition]) -> list[tuple[str, float, str]]:
    return [(t.after, t.share, t.reason) for t in transitions]


def test_a_good_single_turn_student_goes_all_the_way() -> None:
    """ε = .10: shadow at 90 % of α₁ = .0304, 5 sessions at 10 %, and live in canary by its own gate at α₁."""
    first, second = clean(0.10)
    assert (first, second) == (45, 39)
    state, seen = run([NEW, *sessions("shadow", *[0.0] * first), *sessions("canary", *[0.0] * 60)])
    told = story(seen)
    assert told[:2] == [("shadow", 0.0, "student_registered"), ("canary", 0.10, "gate_crossed")]
    rises = [share for after, share, reason in told if (after, reason) == ("canary", "ramp")]
    assert rises == sorted(rises)
    assert set(rises) <= set(RoutingOptions().ramp[1:])
    assert (told[-1], len(told)) == (("live", 1.0, "canary_gate_crossed"), 3 + len(rises))
    assert seen[1].evidence["shadow"]["n"] == first
    assert seen[1].evidence["shadow"]["wealth"] >= 1 / alpha_for(1, 0.05)
    assert seen[-1].evidence["canary"]["n"] == second
    assert state.share == 1.0


def test_single_turn_evidence_is_carried_over() -> None:
    """ε = .05: the canary gate alone would take nearly twice as many; 50 clean ones confirm what shadow has proven."""
    state = in_canary(epsilon=0.05)
    after, seen = run(sessions("canary", *[0.0] * 50), state)
    assert seen[-1].reason == "carried_over"
    assert after.canary is not None
    assert after.canary.n == 50


def test_multi_turn_students_certify_anew() -> None:
    state = in_canary(epsilon=0.05, single_turn=False)
    after, _ = run(sessions("canary", *[0.0] * (clean(0.05)[1] - 1)), state)
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
    """As many steps at once as the worst case allows; in multi-turn patterns canary sessions alone say what that is."""
    state = in_canary(epsilon=0.05, single_turn=False)
    risen: list[tuple[int, float]] = []
    for i, event in enumerate(sessions("canary", *[0.0] * 76), start=1):
        state, seen = apply(state, event)
        for transition in seen:
            if transition.kind == "share":
                bound = upper_bound(0, i, 0.05)
                risen.append((i, transition.share))
                assert transition.share * bound <= 0.025
                assert transition.share * upper_bound(0, i - 1, 0.05) > 0.025
    assert [share for _, share in risen] == [0.12, 0.13, 0.15, 0.17, 0.20, 0.23, 0.27, 0.31, 0.36, 0.41, 0.47]
    assert risen[0][0] > 10


def test_of_single_turn_patterns_shadow_counts_for_the_worst_case() -> None:
    state = in_canary(epsilon=0.05)
    _, seen = run(sessions("canary", *[0.0] * 5), state)
    assert [(t.share, t.reason) for t in seen] == [(0.62, "ramp")]
    assert run(sessions("canary", *[0.0] * 4), state)[1] == []


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
    assert shares(state) == (1.0, 0.0, 0.0125)
    state, seen = run(sessions("live", 1.0), state)
    assert [(t.kind, t.reason) for t in seen] == [("audit", "guard_warns")]
    assert shares(state).audit == 1.0
    state, seen = run(sessions("live", *[0.0] * 80), state)
    assert [t.reason for t in seen] == ["guard_calm"]
    assert shares(state).audit == 0.0125
    state, seen = run(sessions("live", *[1.0] * 10), state)
    assert [t.reason for t in seen] == ["guard_warns", "guard"]
    assert state.state == "quarantined"
    assert 490 < state.cooldown < 500
    assert seen[-1].evidence["guard"]["m"] >= 1e4
    assert shares(state).serve == 0


@pytest.mark.parametrize("state", [in_canary(), in_live()])
def test_unusable_answers_demote(state: PatternState) -> None:
    fine, _ = run([Invalid(n=300, bad=2)], state)
    assert fine.state == state.state
    bad, seen = run([Invalid(n=6, bad=6)], state)
    assert (bad.state, seen[0].reason) == ("quarantined", "invalid_output")


def test_unusable_answers_count_only_while_serving() -> None:
    state, seen = run([NEW, Invalid(n=50, bad=50)])
    assert (state.state, len(seen)) == ("shadow", 1)


def test_a_cooldown_is_waited_for() -> None:
    patient, _ = run([msgspec.structs.replace(NEW, k=2, wait=500), *sessions("shadow", *[0.0] * 100)])
    assert patient.shadow is not None
    assert patient.shadow.crossed
    assert patient.state == "shadow"
    assert run([Passed(n=400)], patient)[0].state == "canary"


def test_alpha_is_spent_over_trials() -> None:
    for k in (1, 2, 5):
        state, _ = run([msgspec.structs.replace(NEW, k=k)])
        assert state.shadow is not None
        assert state.shadow.alpha == WHOLE * alpha_for(k, 0.05)
        assert state.ladder is not None
        assert state.shadow.alpha + state.ladder.alpha == pytest.approx(alpha_for(k, 0.05))
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


def test_promotion_beyond_the_evidence_is_marked_until_the_evidence_catches_up() -> None:
    state, seen = run([NEW, says("promote"), says("promote")])
    assert [t.forced for t in seen] == [False, True, True]
    assert (state.state, shares(state).audit) == ("live", 1.0)
    assert state.canary is not None
    caught, seen = run(sessions("canary", *[0.0] * 60), state)
    assert [(t.kind, t.reason, t.forced) for t in seen] == [("mark", "evidence_caught_up", False)]
    assert (caught.state, caught.forced, shares(caught).audit) == ("live", False, 0.0125)


def test_a_forced_student_that_turns_out_bad_must_go() -> None:
    state, _ = run([NEW, says("promote"), says("promote")])
    state, seen = run(sessions("canary", *[1.0] * 9), state)
    assert (state.state, state.forced, seen[-1].reason) == ("blocked", False, "futile")


def test_what_is_proven_may_be_promoted_without_a_mark() -> None:
    waiting, _ = run([msgspec.structs.replace(NEW, wait=500), *sessions("shadow", *[0.0] * 100)])
    state, _ = run([says("promote")], waiting)
    assert (state.state, state.forced, state.cooldown) == ("canary", False, 0)


def mixed(n: int, kind: str = "shadow") -> list[Event]:
    """Sessions of two calls: the student knows when it is wrong. The risk is .25 as a whole, and 0 where it is sure."""
    rng = random.Random(5)
    found: list[Event] = []
    for i in range(n):
        items = tuple((rng.uniform(-0.2, 0.0), 0.0) if rng.random() < 0.75 else (-2.0, 1.0) for _ in range(2))
        found.append(Session(kind=kind, session=f"m{i}", loss=sum(loss for _, loss in items) / 2, items=items))
    return found


def test_the_part_that_the_student_is_sure_of_is_served() -> None:
    state, seen = run([NEW, *mixed(600)])
    assert [t.reason for t in seen] == ["student_registered", "threshold_crossed"]
    assert state.shadow is not None
    assert state.shadow.futile
    assert state.threshold is not None
    assert -2.0 < state.threshold < 0
    assert seen[-1].threshold == state.threshold
    live, seen = run(sessions("canary", *[0.0] * 60), state)
    assert (live.state, live.threshold, seen[-1].reason) == ("live", state.threshold, "canary_gate_crossed")


def test_without_scores_there_is_nothing_to_search_for() -> None:
    state, seen = run([NEW, *sessions("shadow", *[1.0] * 10)])
    assert (state.state, seen[-1].reason) == ("blocked", "futile")


def test_the_search_for_a_safe_part_ends() -> None:
    options = RoutingOptions(confidence_sessions=100)
    hopeless: list[Event] = [
        Session(kind="shadow", session=str(i), loss=float(i % 2), items=((-0.001 * (i % 100), float(i % 2)),))
        for i in range(200)
    ]
    state, seen = run([msgspec.structs.replace(NEW, options=options), *hopeless])
    assert (state.state, seen[-1].reason) == ("blocked", "futile")


def test_invented_fields_end_a_trial_that_the_mean_would_pass() -> None:
    """Each twentieth session has an empty field, and the student fills it: a risk of .05 with a limit of .10."""
    events: list[Event] = []
    for i in range(800):
        lost = float(i % 20 == 7)
        nulls = {"empty:book.note": lost} if lost else {}
        events.append(Session(kind="shadow", session=str(i), loss=lost, nulls=nulls))
    held, seen = run([NEW, says("hold"), *events])
    assert (held.state, seen[-1].reason, seen[-1].actor) == ("blocked", "nulls:empty:book.note", "gate")
    assert held.shadow is not None
    assert held.shadow.risk is not None
    assert held.shadow.risk < 0.10
    plain = [msgspec.structs.replace(event, nulls={}) for event in events if isinstance(event, Session)]
    assert run([NEW, *plain])[0].state == "canary"


def test_a_student_that_never_answers_goes_and_one_that_is_overloaded_stays() -> None:
    busy = [Invalid(n=10, bad=0, late=9) for _ in range(40)]
    assert run(list(busy), in_live())[0].state == "live"
    silent = [Invalid(n=10, bad=0, late=10) for _ in range(5)]
    state, seen = run(list(silent), in_live())
    assert (state.state, seen[-1].reason) == ("quarantined", "no_answer")


def test_a_changed_label_counts_as_if_it_had_been_right_at_once() -> None:
    losses = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    right = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    late, _ = run([NEW, *sessions("shadow", *losses), Relabelled(kind="shadow", session="shadow1", loss=0.0)])
    once, _ = run([NEW, *sessions("shadow", *right)])
    assert (late.shadow, late.ladder) == (once.shadow, once.ladder)


def test_a_changed_label_moves_the_guard_but_takes_no_promotion_back() -> None:
    canary = in_canary()
    assert canary.shadow is not None
    later, seen = run([Relabelled(kind="shadow", session=f"shadow{i}", loss=1.0) for i in range(30)], canary)
    assert (later.state, seen) == ("canary", [])
    assert later.shadow is not None
    assert not later.shadow.crossed
    assert canary.shadow.crossed
    live = in_live()
    bad, seen = run([Relabelled(kind="canary", session=f"canary{i}", loss=1.0) for i in range(30)], live)
    assert (bad.state, seen[-1].reason) == ("quarantined", "guard")
    unknown, _ = run([Relabelled(kind="live", session="nobody", loss=1.0)], live)
    assert (unknown.late, unknown.guard) == (live.late + 1, live.guard)


def test_what_a_judge_has_let_pass_waits_for_people() -> None:
    """The labels alone would promote; the two tests on the judge's word must cross as well."""
    lacking = JudgedGate.begin(0.10, 0.03)
    waiting, seen = run([NEW, Judged(kind="shadow", gate=lacking), *sessions("shadow", *[0.0] * 60)])
    assert (waiting.state, len(seen)) == ("shadow", 1)
    proven = lacking
    for _ in range(300):
        proven = proven.judge(0.0).review(0.0)
    state, seen = run([Judged(kind="audit", gate=proven)], waiting)
    assert (state.state, seen) == ("shadow", [])  # of the other stage
    state, seen = run([Judged(kind="shadow", gate=proven)], waiting)
    assert (state.state, state.judged, seen[0].reason) == ("canary", None, "gate_crossed")
    assert reproduced(seen[0]) == seen[0]
    assert seen[0].evidence["judged"]["missed"]["n"] == 300


def test_a_promotion_before_the_judge_is_proven_stays_marked() -> None:
    """What shadow has gathered then does not count in canary either; served sessions have to prove it alone."""
    waiting, _ = run([NEW, Judged(kind="shadow", gate=JudgedGate.begin(0.10, 0.03)), *sessions("shadow", *[0.0] * 60)])
    for word in (says("promote"), says("share", share=0.1)):
        state, seen = run([word, *sessions("canary", *[0.0] * 5)], waiting)
        assert (state.state, state.forced, [one.reason for one in seen]) == ("canary", True, ["operator: because"])
    proven, seen = run([says("resume"), *sessions("canary", *[0.0] * 60)], state)
    assert (proven.state, proven.forced, proven.in_shadow) == ("live", False, state.in_shadow)
    again, _ = run([says("demote"), says("resume", k=2)], proven)
    assert not again.unjudged


def test_a_pin_is_a_mark_and_changes_no_evidence() -> None:
    live = in_live()
    pinned, seen = run([says("pin")], live)
    assert (pinned.pinned, pinned.guard, seen) == (True, live.guard, [])
    assert not run([says("unpin")], pinned)[0].pinned


def test_resume_is_on() -> None:
    off, _ = run([says("off")], in_live())
    assert run([says("resume")], off)[0] == run([says("on")], off)[0]


def test_each_decision_follows_from_the_evidence_kept_with_it() -> None:
    log = [NEW, *mixed(600), *sessions("canary", *[0.0] * 60), *sessions("live", 1.0, 1.0, *[0.0] * 80, *[1.0] * 12)]
    _, seen = run(log)
    decided = [t for t in seen if t.reason != "student_registered"]
    assert {t.reason for t in decided} >= {"threshold_crossed", "ramp", "canary_gate_crossed", "guard_warns", "guard"}
    for transition in decided:
        stored = msgspec.json.decode(msgspec.json.encode(transition), type=Transition)
        assert stored == transition
        assert reproduced(stored) == transition
        assert stored.snapshot is not None
        assert stored.snapshot.in_shadow is None or not stored.snapshot.in_shadow.sessions
    assert reproduced(seen[0]) is None
    assert decide(in_live(), 1.0).transitions == []


def test_on_begins_a_new_trial_for_a_blocked_version() -> None:
    blocked, _ = run([NEW, *sessions("shadow", *[1.0] * 10)])
    again, _ = run([says("on", k=4)], blocked)
    assert (again.state, again.k, again.cooldown) == ("shadow", 4, 0)
    assert again.shadow is not None
    assert (again.shadow.n, again.shadow.alpha) == (0, WHOLE * alpha_for(4, 0.05))
    assert run([says("on")], blocked)[0].k == 2


def test_sessions_of_an_earlier_state_do_not_count() -> None:
    canary = in_canary()
    late, _ = run(sessions("shadow", 1.0, 1.0), canary)
    assert (late.late, late.shadow, late.canary) == (canary.late + 2, canary.shadow, canary.canary)
    before = in_live()
    live, _ = run(sessions("canary", 0.0), before)
    assert live.guard is not None
    assert before.guard is not None
    assert live.guard.n == before.guard.n + 1


def test_new_options_take_effect_through_an_event() -> None:
    state = in_live()
    more, _ = run([Configured(options=RoutingOptions(audit_share=0.2, alpha=0.5))], state)
    assert shares(more).audit == 0.2
    assert more.canary == state.canary


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (msgspec.structs.replace(NEW, version="lamp@2"), "a machine|machine"),
        (Session(kind="nightly", session="s", loss=0.0), "shadow, canary, live or whole"),
        (Session(kind="live", session="s", loss=2.0), "loss lies in"),
        (says("explode"), "promote, share, hold, demote"),
        (says("share", share=1.0), "lies in"),
        ("gossip", "routing event was expected"),
    ],
)
def test_senseless_events_are_refused(event: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply(in_live(), event)


BEGINNINGS: list[list[Event]] = [
    [NEW],
    [msgspec.structs.replace(NEW, single_turn=False), *sessions("shadow", *[0.0] * 100)],
    [NEW, *sessions("shadow", *[0.0] * 100), *sessions("canary", *[0.0] * 20)],
    [NEW, *sessions("shadow", *[0.0] * 100), *sessions("canary", *[0.0] * 60)],
    [NEW, says("promote"), says("promote")],
]
EVENT = st.one_of(
    st.builds(Session, kind=st.sampled_from(["shadow", "canary", "live"]), session=st.just("s"), loss=st.floats(0, 1)),
    st.builds(Session, kind=st.sampled_from(["shadow", "canary", "live"]), session=st.just("s"), loss=st.just(0.0)),
    st.builds(Session, kind=st.just("whole"), session=st.just("w"), loss=st.just(0.0), threshold=st.just(-0.1)),
    st.builds(lambda n, bad: Invalid(n=n, bad=min(n, bad)), st.integers(0, 20), st.integers(0, 3)),
    st.builds(Passed, n=st.integers(0, 300)),
    st.builds(lambda action, share: says(action, share=share), st.sampled_from(ACTIONS), st.floats(0.01, 0.80)),
    st.builds(lambda share: Configured(options=RoutingOptions(audit_share=share)), st.floats(0, 1)),
)


HEARD = st.one_of(
    st.builds(
        Session, kind=st.sampled_from(["shadow", "canary"]), session=st.just("s"), loss=st.sampled_from([0, 0, 1])
    ),
    st.builds(Invalid, n=st.integers(0, 20), bad=st.just(0)),
)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(BEGINNINGS), st.floats(0.01, 0.80), st.lists(HEARD, max_size=30), st.lists(HEARD, max_size=60))
def test_a_share_set_by_hand_stays_and_is_marked_beyond_the_evidence(
    beginning: list[Event], share: float, before: list[Event], after: list[Event]
) -> None:
    state, _ = run([*beginning, *before])
    if state.state not in ("shadow", "canary", "live"):
        return
    wanted = says("share", share=share)
    allowed = max(allowed_share(state), state.share)
    set_by_hand, seen = run([wanted], state)
    assert (set_by_hand.state, set_by_hand.share, set_by_hand.held) == ("canary", share, True)
    assert shares(set_by_hand) == (share, 0.0, 1.0)
    assert [(one.after, one.share, one.actor) for one in seen] == [("canary", share, "ada")] * (state.share != share)
    assert set_by_hand.forced == (share > allowed) or state.forced
    later, moved = run(after, set_by_hand)
    assert later.share in (share, 0.0)
    assert {one.after for one in moved} <= {"canary", "blocked", "quarantined"}
    assert {one.reason for one in moved if one.after == "canary"} <= {"evidence_caught_up"}
    assert all(reproduced(one) == one for one in moved)
    log = [*beginning, *before, wanted, *after]
    assert replay([decode_event(encode_event(event)) for event in log]) == later


def test_a_share_set_by_hand_is_let_go_by_resume() -> None:
    live, seen = run([says("share", share=0.4), *sessions("canary", 0.0)], in_live())
    assert (live.state, live.share, live.step, live.forced, live.held) == ("canary", 0.4, 9, False, True)
    assert [(one.before, one.after, one.share) for one in seen] == [("live", "canary", 0.4)]
    back, seen = run([says("resume")], live)
    assert (back.state, back.share, seen[0].reason) == ("live", 1.0, "canary_gate_crossed")


def test_a_share_beyond_the_exposure_cap_is_marked_until_the_proof() -> None:
    state, seen = run([says("share", share=0.8)], in_canary())
    assert (state.forced, seen[0].forced, state.share) == (True, True, 0.8)
    proven, seen = run(sessions("canary", *[0.0] * 60), state)
    assert [(one.kind, one.reason) for one in seen] == [("mark", "evidence_caught_up")]
    assert (proven.state, proven.share, proven.forced) == ("canary", 0.8, False)
    less, _ = run([says("share", share=0.2)], proven)
    assert (less.share, less.forced) == (0.2, False)
    assert run([says("share", share=0.2)], less)[1] == []


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


def noisy(**changes: Any) -> Noisy:
    seen = {"repeats": 100, "disagreements": 20.0, "margin": 0.5, "k": 3} | changes
    return Noisy(at=5.0, seen=SelfOdds(**seen))


def relative(odds: int = 5) -> tuple[PatternState, list[Transition]]:
    """A version that the gate gave up, and that is as often at odds with a noisy teacher as that is with itself: in one
    of `odds` sessions."""
    state, seen = run([NEW, *sessions("shadow", *[0.0, 1.0] * 30), Passed(n=500), noisy()])
    assert (state.state, state.k, state.cooldown) == ("shadow", 3, 0)
    test = state.relative
    assert test is not None
    assert test.gate.alpha == alpha_for(3, 0.05)
    for n in range(60):
        test = test.update(float(n % odds == 0), float(n % odds == 1))
    state, more = run([*sessions("shadow", *[1.0, 0.0, 0.0, 0.0, 0.0] * 12), Repeated(at=6.0, test=test)], state)
    return state, seen + more


def test_against_a_noisy_teacher_its_second_answer_decides() -> None:
    state, seen = relative()
    told = [reason for _, _, reason in story(seen)]
    assert told == ["student_registered", "futile", "noisy_teacher", "noise_test_crossed"]
    assert seen[2].evidence["noise"]["disagreements"] == 20.0
    assert seen[3].evidence["relative"]["difference"] == 0.0
    assert all(reproduced(one) == one for one in seen[1:])
    assert state.state == "canary"
    assert state.canary is not None
    assert 0.3 < state.canary.epsilon <= 0.5
    assert state.share == pytest.approx(min(0.10, 0.05 / (state.canary.epsilon if state.canary.epsilon < 0.5 else 1)))


def test_nothing_but_proven_noise_of_the_teacher_begins_a_relative_trial() -> None:
    for event in (noisy(disagreements=1.0), noisy(repeats=2, disagreements=1.0)):
        state, _ = run([NEW, *sessions("shadow", *[0.0, 1.0] * 30), event])
        assert (state.state, state.relative) == ("blocked", None)
    for events in ([], sessions("shadow", *[0.0] * 60)):
        state, _ = run([NEW, *events, noisy()])
        assert state.noise is None
    invents = Session(kind="shadow", session="s", loss=0.0, nulls={"more:no_tool": 1.0})
    state, _ = run([NEW, *[invents] * 60, noisy()])
    assert (state.state, state.noise) == ("blocked", None)


def test_what_is_proven_against_second_answers_stays_within_the_exposure_cap() -> None:
    state, _ = relative()
    state, seen = run(sessions("canary", *[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0] * 120), state)
    assert (state.state, state.canary and state.canary.crossed) == ("canary", True)
    assert {one.reason for one in seen} == {"ramp"}
    assert all(
        one.share
        * upper_bound(
            one.evidence["canary"]["losses"], one.evidence["canary"]["n"] - one.evidence["canary"]["losses"], 0.05
        )
        <= 0.05
        for one in seen
    )
    fallen, _ = run(sessions("canary", *[1.0] * 40), relative()[0])
    assert fallen.state in ("blocked", "quarantined")


def test_a_relative_trial_that_fails_is_the_last_until_an_operator_speaks() -> None:
    state, _ = run([NEW, *sessions("shadow", *[0.0, 1.0] * 30), noisy()])
    test = NoiseTest.begin(0.5, 0.01, 0.01)
    for _ in range(40):
        test = test.update(1.0, 0.0)
    state, _ = run([Repeated(test=test), noisy()], state)
    assert (state.state, state.noise) == ("blocked", None)
    state, _ = run([says("resume", k=4)], state)
    assert (state.state, state.k, state.relative) == ("shadow", 4, None)
