"""Who says what about a pair, and what counts in the end."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_comparisons import ONE

from tutelage.proxy.comparisons import changed_since, listed, save
from tutelage.proxy.verdicts import PairKey, Said, person_says, read_key, release, say, verdicts_of
from tutelage.traffic.errors import UnknownName
from tutelage.traffic.store import Store

KEY = PairKey(ONE.call_id, ONE.student, ONE.kind)
UNSURE = replace(ONE, loss=1.0, reason="unsure", waits=True)


@pytest.fixture
def store(tmp_path: Any) -> Any:
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


def judge(verdict: str, at: float = 11.0, **fields: Any) -> Said:
    return Said(KEY, "judge", "j@1", verdict, at, **fields)


def counts(store: Store) -> tuple[float, str, str, bool]:
    (row,) = listed(store, ONE.pattern_id)
    return row.loss, row.reason, row.decided_by, row.waits


def test_a_judge_decides_what_the_rules_cannot(store: Store) -> None:
    save(store, [UNSURE])
    assert counts(store) == (1.0, "unsure", "rules", True)
    say(store, judge("torn", asked=2))
    assert counts(store) == (1.0, "unsure", "rules", False), "no longer waiting, still a loss"
    say(store, judge("accept", asked=2, prompt_tokens=9, usd=0.25))
    assert counts(store) == (0.0, "judge:accept", "judge", False)
    say(store, judge("failed"))
    assert counts(store) == (0.0, "judge:accept", "judge", False)
    assert [(one["verdict"], one["asked"], one["usd"]) for one in verdicts_of(store, KEY)] == [
        ("torn", 2, None), ("accept", 2, 0.25), ("failed", 0, None),
    ]  # fmt: skip


def test_a_judge_has_no_say_where_the_rules_are_sure(store: Store) -> None:
    save(store, [replace(ONE, loss=1.0, reason="numbers")])
    say(store, judge("accept"))
    assert counts(store) == (1.0, "numbers", "rules", False)


def test_a_judge_cannot_make_a_reading_call_worse(store: Store) -> None:
    save(store, [replace(UNSURE, loss=0.5, reason="unsure:search.query")])
    say(store, judge("reject"))
    assert counts(store)[:2] == (0.5, "judge:reject")


def test_a_person_beats_judge_and_rules_and_may_think_again(store: Store) -> None:
    save(store, [UNSURE])
    say(store, judge("accept"))
    person_says(store, KEY, "reject", "ann", "wrong room", 12.0)
    assert counts(store) == (1.0, "human:reject", "human", False)
    say(store, judge("accept", at=13.0))
    assert counts(store)[2] == "human", "later words of others change nothing"
    person_says(store, KEY, "withdraw", "ann", "", 14.0)
    assert counts(store)[:3] == (0.0, "judge:accept", "judge")


def test_new_rules_speak_again_and_the_judge_is_heard_only_where_they_are_unsure(store: Store) -> None:
    save(store, [UNSURE])
    say(store, judge("accept"))
    say(store, Said(KEY, "rules", "comparator 9", "reject", 15.0, "negation", 1.0, 9, "abc"))
    assert counts(store)[:3] == (1.0, "negation", "rules")
    (row,) = listed(store, ONE.pattern_id)
    assert (row.comparator, row.policy) == (9, "abc")
    say(store, Said(KEY, "rules", "comparator 9", "reject", 16.0, "unsure", 1.0, 9, "abd"))
    assert counts(store)[1] == "judge:accept"


def test_an_anchor_score_counts_for_nothing(store: Store) -> None:
    save(store, [UNSURE])
    say(store, Said(KEY, "anchor", "j@2", "accept", 11.0))
    assert counts(store) == (1.0, "unsure", "rules", True)


def test_sessions_with_a_changed_label_are_named_once(store: Store) -> None:
    save(store, [UNSURE])
    assert changed_since(store, 0.0) == []
    say(store, judge("reject", at=11.0))
    assert changed_since(store, 0.0) == [], "the loss is the same"
    say(store, judge("accept", at=12.0))
    person_says(store, KEY, "reject", "ann", "", 13.0)
    (row,) = changed_since(store, 12.5)
    assert (row["trajectory_id"], row["changed_at"]) == (ONE.trajectory_id, 13.0)
    assert changed_since(store, 13.1) == []


def test_waiting_ends_by_time(store: Store) -> None:
    save(store, [UNSURE])
    assert release(store, UNSURE.at) == 0
    assert release(store, UNSURE.at + 1) == 1
    assert counts(store) == (1.0, "unsure", "rules", False)


def test_an_unknown_pair_is_refused_and_nothing_is_kept(store: Store) -> None:
    with pytest.raises(UnknownName, match="no pair"):
        say(store, judge("accept"))
    assert store.value("SELECT count(*) FROM verdicts") == 0


@pytest.mark.parametrize("text", ["", "x", "x:shadow:s@1", ":::"])
def test_what_is_no_key_is_unknown(text: str) -> None:
    with pytest.raises(UnknownName):
        read_key(text)


def test_a_key_is_read_back() -> None:
    key = KEY._replace(student="odd:name@1")
    assert read_key(key.text) == key


SOURCE, WORD = st.sampled_from(["human", "judge"]), st.sampled_from(["accept", "reject", "withdraw", "torn"])
WORDS = st.lists(st.tuples(SOURCE, WORD), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(words=WORDS)
def test_the_last_person_counts_then_the_last_judge(store: Store, words: list[tuple[str, str]]) -> None:
    store.execute("DELETE FROM comparisons; DELETE FROM verdicts")
    save(store, [UNSURE])
    for source, verdict in words:
        if (verdict == "withdraw") == (source == "judge") and verdict in ("withdraw", "torn"):
            continue  # judges don't withdraw, people aren't torn
        say(store, Said(KEY, source, "x", verdict, 11.0))
    person = [verdict for source, verdict in words if source == "human" and verdict != "torn"][-1:]
    machine = [verdict for source, verdict in words if source == "judge" and verdict in ("accept", "reject")][-1:]
    last = person[0] if person and person[0] != "withdraw" else (machine or ["reject"])[0]
    assert counts(store)[0] == (0.0 if last == "accept" else 1.0)
