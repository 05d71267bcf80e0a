"""Reviews: what people are asked to look at, and what the two tests make of it."""

from dataclasses import replace
from typing import Any

import pytest
from test_comparisons import ONE

from tutelage.proxy.comparisons import save
from tutelage.proxy.draws import Draw
from tutelage.proxy.reviews import JudgedSession, JudgedTests, judged_gate, judged_sessions, judged_versions, to_review
from tutelage.proxy.verdicts import PairKey, Said, person_says, say
from tutelage.traffic.store import Store

ALL, NONE = Draw("00", 1.0), Draw("00", 0.0)


@pytest.fixture
def store(tmp_path: Any) -> Any:
    with Store(tmp_path / "store.duckdb") as opened:
        yield opened


def key(number: int) -> PairKey:
    return PairKey(f"0192f000-0000-7000-8000-{number:012}", ONE.student, ONE.kind)


def pair(store: Store, number: int, run: str, reason: str = "unsure", verdict: str = "") -> None:
    loss = 0.0 if reason == "same" else 1.0
    save(store, [replace(ONE, call_id=key(number).call_id, trajectory_id=run, loss=loss, reason=reason, at=number)])
    if verdict:
        say(store, Said(key(number), "judge", "j@1", verdict, 50.0))


def seen(store: Store, draw: Draw = ALL) -> list[tuple[Any, ...]]:
    found = judged_sessions(store, draw, ONE.pattern_id, ONE.student, ONE.kind)
    return [(one.trajectory_id, one.flagged, one.drawn, one.open, one.missed) for one in found]


def test_what_the_judge_accepted_is_to_be_looked_at_and_nothing_else(store: Store) -> None:
    pair(store, 1, "a", verdict="accept")
    pair(store, 2, "b", verdict="reject")
    pair(store, 3, "c", "same")
    pair(store, 4, "d", "numbers")
    assert [one.call_id for one in to_review(store, ALL)] == [key(1).call_id]
    assert to_review(store, NONE) == []
    assert to_review(store, ALL, "other") == []
    person_says(store, key(1), "accept", "ann", "", 60.0)
    assert to_review(store, ALL) == []


def test_versions_whose_labels_rest_on_a_judge(store: Store) -> None:
    pair(store, 1, "a", "same")
    pair(store, 2, "b", verdict="reject")
    assert judged_versions(store) == []
    pair(store, 3, "c", verdict="accept")
    assert judged_versions(store) == [(ONE.pattern_id, ONE.student)]


def test_versions_read_from_new_verdicts_alone_are_all_versions(store: Store) -> None:
    tests = JudgedTests(store, lambda: 1.0)
    for number, verdict in enumerate(["reject", "accept", "accept"], start=1):
        pair(store, number, str(number), verdict=verdict)
        newest = store.value("SELECT max(seq) FROM verdicts")
        assert tests.versions(newest) == tests.versions(newest) == judged_versions(store)
    assert judged_versions(store) == [(ONE.pattern_id, ONE.student)]


def test_a_person_who_looks_does_not_change_what_the_judge_flagged(store: Store) -> None:
    pair(store, 1, "a", verdict="accept")
    pair(store, 2, "a", "same")
    pair(store, 3, "b", verdict="reject")
    pair(store, 4, "c", verdict="torn")
    assert seen(store) == [("a", 0.0, True, 1, 0.0), ("b", 1.0, True, 0, 0.0), ("c", 1.0, True, 0, 0.0)]
    person_says(store, key(1), "reject", "ann", "", 60.0)
    person_says(store, key(3), "accept", "ann", "", 60.0)
    assert seen(store) == [("a", 0.0, True, 0, 0.5), ("b", 1.0, True, 0, 0.0), ("c", 1.0, True, 0, 0.0)]
    person_says(store, key(1), "withdraw", "ann", "", 61.0)
    assert seen(store)[0] == ("a", 0.0, True, 1, 0.0)


def test_reviews_count_up_to_the_first_that_is_open() -> None:
    def session(name: str, **fields: Any) -> JudgedSession:
        given: dict[str, Any] = {"flagged": 0.0, "drawn": True, "open": 0, "missed": 0.0} | fields
        return JudgedSession(name, **given)

    sessions = [
        session("a", drawn=False),
        session("b", missed=1.0),
        session("c", flagged=1.0),
        session("d", open=1),
        session("e"),
    ]
    gate = judged_gate(sessions, 0.10, 0.05)
    assert (gate.flagged.n, gate.flagged.total) == (5, 1.0)
    assert (gate.missed.n, gate.missed.total) == (2, 1.0)
