"""Which of an operator's words are taken, and what is answered to the others."""

import pytest

from tutelage.proxy.machine import apply
from tutelage.proxy.operators import Wish, check, check_word, meant
from tutelage.proxy.states import Operator, PatternState, Session, StudentRegistered
from tutelage.traffic.errors import BadInput, UnknownName

SHADOW = apply(PatternState(), StudentRegistered(version="a@1", epsilon=0.1, single_turn=True)).state


def after(state: PatternState, action: str) -> PatternState:
    return apply(state, Operator(action=action, actor="ada")).state


CANARY = after(SHADOW, "promote")
LIVE = after(CANARY, "promote")
OFF = after(LIVE, "off")
FALLEN = after(LIVE, "demote")


def test_unknown_words_name_the_known_ones() -> None:
    with pytest.raises(BadInput, match="promote, share, hold, demote, off, resume, on, pin, unpin, not 'explode'"):
        check_word("explode", False)
    with pytest.raises(BadInput, match="off, on, resume to everything, not 'demote'"):
        check_word("demote", True)
    check_word("off", True)


def test_beyond_the_evidence_needs_force_and_says_what_is_missing() -> None:
    for state in (SHADOW, CANARY):
        with pytest.raises(BadInput, match=r"more .*sessions.*--force"):
            check(state, Wish("promote", "ada", force=False))
        check(state, Wish("promote", "ada", force=True))


def test_within_the_evidence_it_does_not() -> None:
    proven = PatternState()
    for event in [
        StudentRegistered(version="a@1", epsilon=0.1, wait=500),
        *[Session(kind="shadow", session=str(i), loss=0.0) for i in range(80)],
    ]:
        proven = apply(proven, event).state
    check(proven, Wish("promote", "ada", force=False))


def test_a_share_goes_as_far_as_the_evidence_without_force() -> None:
    for share in (0.0, 0.81, 1.0):
        with pytest.raises(BadInput, match=r"between 1% and 80%"):
            check(CANARY, Wish("share", "ada", force=True, share=share))
    with pytest.raises(BadInput, match=r"allows a share of 0 %, not 10%: .*--force"):
        check(SHADOW, Wish("share", "ada", force=False, share=0.10))
    check(SHADOW, Wish("share", "ada", force=True, share=0.10))
    for share in (0.01, CANARY.share):
        check(CANARY, Wish("share", "ada", force=False, share=share))
    check(LIVE, Wish("share", "ada", force=False, share=0.8))
    with pytest.raises(BadInput, match="use `resume` first"):
        check(OFF, Wish("share", "ada", force=True, share=0.4))
    with pytest.raises(BadInput, match="not with `promote`"):
        check(SHADOW, Wish("promote", "ada", force=True, share=0.4))


@pytest.mark.parametrize(
    ("state", "action", "message"),
    [
        (LIVE, "promote", "serves everything already"),
        (OFF, "promote", "use `resume` first"),
        (FALLEN, "promote", "begins a new trial"),
        (FALLEN, "demote", "nothing to demote"),
        (OFF, "demote", "nothing to demote"),
        (FALLEN, "hold", "not promoted anyway"),
    ],
)
def test_words_that_make_no_sense_say_why(state: PatternState, action: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check(state, Wish(action, "ada", force=True))


def test_whom_a_word_is_for() -> None:
    second = apply(PatternState(), StudentRegistered(version="a@2", k=2)).state
    both = [LIVE, second]
    assert meant(both, "p", Wish("demote", "ada")) == [LIVE]
    assert meant(both, "p", Wish("promote", "ada", student="a@2")) == [second]
    assert meant([OFF, second], "p", Wish("resume", "ada")) == [OFF]
    assert meant(both, "p", Wish("unpin", "ada")) == []
    assert meant([after(LIVE, "pin"), second], "p", Wish("unpin", "ada"))[0].student == "a@1"
    with pytest.raises(UnknownName, match=r"It has: a@1, a@2"):
        meant(both, "p", Wish("pin", "ada", student="a@9"))
    with pytest.raises(BadInput, match="which version"):
        meant(both, "p", Wish("pin", "ada"))
    with pytest.raises(UnknownName, match="no student version that could be told to hold"):
        meant([], "p", Wish("hold", "ada"))
    assert meant([], "p", Wish("off", "ada")) == [PatternState()]
