"""Intents without a model: openings, names, ids that last, balance, and the file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.errors import BadInput
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.intents import (
    OTHER,
    Intent,
    IntentBook,
    Opening,
    balanced,
    described,
    forget,
    names_for,
    openings_of,
    read_book,
    sessions_of,
    with_known_ids,
    write_book,
)
from tutelage.traffic.layout import DataDir
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.store import Store

Message = dict[str, Any]


def group(*sessions: str, centre: tuple[float, ...] = (1.0, 0.0), intent_id: str = "") -> Intent:
    return Intent(intent_id=intent_id, name="n", sessions=sessions, examples=sessions[:1], centre=centre)


def book(*intents: Intent, pattern: str = "p_1", model: str = "m") -> IntentBook:
    return IntentBook(pattern_id=pattern, found_at=1.0, model=model, intents=intents)


def test_the_opening_is_the_first_user_message_of_each_session(
    tmp_path: Path, make_call: Callable[..., CallRecord]
) -> None:
    said: Message = {"role": "assistant", "content": "yes?"}
    start: list[Message] = [{"role": "system", "content": "S"}, said]
    records = []
    for number, word in enumerate(("cancel", "book")):
        asked = [*start, {"role": "user", "content": [{"type": "text", "text": word}, {"type": "image_url"}]}]
        later = [*asked, {"role": "assistant", "content": word}, {"role": "user", "content": "thanks"}]
        fields: dict[str, Any] = {"pattern": "p_1", "trajectory": word}
        records.append(make_call(asked, {"role": "assistant", "content": word}, started_at=10.0 * number, **fields))
        records.append(make_call(later, said, started_at=10.0 * number + 1, **fields))
    records.append(make_call(start[:1], said, started_at=90.0, pattern="p_1", trajectory="no user"))
    records.append(
        make_call(
            [{"role": "user", "content": "?"}], said, started_at=91.0, pattern="p_2", trajectory="another pattern"
        )
    )
    with Store(tmp_path / "store.duckdb") as store:
        Ingest(store).apply([encode(record) for record in records], {})
        assert openings_of(store, "p_1") == [Opening("x:book", "book"), Opening("x:cancel", "cancel")]
        assert openings_of(store, "p_1", limit=2) == [Opening("x:book", "book")]
        assert openings_of(store, "p_3") == []


def test_sessions_that_open_alike_each_have_their_opening(tmp_path: Path, make_call: Callable[..., CallRecord]) -> None:
    asked = [{"role": "user", "content": "hi"}]
    records = [make_call(asked, None, started_at=at, pattern="p", trajectory=f"{at:g}") for at in (1.0, 2.0)]
    with Store(tmp_path / "store.duckdb") as store:
        Ingest(store).apply([encode(record) for record in records], {})
        assert openings_of(store, "p") == [Opening("x:2", "hi"), Opening("x:1", "hi")]


def test_names_are_the_words_that_set_a_group_apart() -> None:
    lamps = ["turn on the lamp", "turn off the lamp", "is the lamp on"]
    locks = ["lock the door", "unlock the door please", "is the door open 4711"]
    first, second = names_for([lamps, locks])
    assert first.split()[0] == "lamp"
    assert second.split()[0] == "door"
    assert "4711" not in second


def test_a_word_of_a_single_text_is_in_no_name_and_every_group_has_one() -> None:
    names = names_for([["my name is Ada", "my name is Bob"], ["17", "18"], ["19", "20"]])
    assert "ada" not in names[0]
    assert len(set(names)) == 3
    assert all(names)


def test_a_group_that_persists_keeps_its_id() -> None:
    first = with_known_ids("p", [group("a", "b", "c"), group("d", "e", centre=(0.0, 1.0))], None, "m")
    assert len({intent.intent_id for intent in first}) == 2
    again = [group("d", "e", "f", "g", centre=(0.0, 1.0)), group("a", "b", "x")]
    ids = [intent.intent_id for intent in with_known_ids("p", again, book(*first), "m")]
    assert ids == [first[1].intent_id, first[0].intent_id]


def test_of_two_halves_the_larger_keeps_the_id() -> None:
    [whole] = with_known_ids("p", [group(*"abcdef")], None, "m")
    halves = with_known_ids("p", [group("a", "b"), group("c", "d", "e", "f", "g")], book(whole), "m")
    assert sum(half.intent_id == whole.intent_id for half in halves) == 1
    assert len({half.intent_id for half in halves}) == 2


def test_without_common_sessions_near_centres_of_one_model_decide() -> None:
    [old] = with_known_ids("p", [group("a", "b")], None, "m")
    near, far = group("x", "y", centre=(0.98, 0.199)), group("z", centre=(0.0, 1.0))
    assert with_known_ids("p", [far, near], book(old), "m")[1].intent_id == old.intent_id
    assert with_known_ids("p", [near], book(old), "another model")[0].intent_id != old.intent_id
    assert with_known_ids("p", [far], book(old), "m")[0].intent_id != old.intent_id
    rest = group("a", "b", intent_id=OTHER)
    assert with_known_ids("p", [group("a", "b")], book(rest), "m")[0].intent_id != OTHER


def test_a_balanced_choice_takes_of_each_intent_in_turn() -> None:
    items = ["a1", "a2", "a3", "a4", "b1", "c1", "c2"]
    assert balanced(items, lambda item: item[0], 5) == ["a1", "a2", "b1", "c1", "c2"]
    assert balanced(items, lambda item: item[0], 3) == ["a1", "b1", "c1"]
    assert balanced(items, lambda item: "", 4) == items[:4]
    assert balanced(items, lambda item: item[0], 99) == items
    assert balanced(items, lambda item: item[0], 0) == []


@given(st.lists(st.integers(0, 4), max_size=40), st.integers(0, 45))
def test_no_intent_is_more_than_one_ahead_of_one_that_has_some_left(kinds: list[int], limit: int) -> None:
    items = [(kind, number) for number, kind in enumerate(kinds)]
    chosen = balanced(items, lambda item: str(item[0]), limit)
    assert len(chosen) == min(limit, len(items))
    assert chosen == sorted(chosen, key=items.index)
    taken = {kind: sum(one == kind for one, _ in chosen) for kind in set(kinds)}
    left = [kind for kind in taken if taken[kind] < kinds.count(kind)]
    assert all(n <= taken[kind] + 1 for kind in left for n in taken.values())


def test_the_file_holds_the_book_and_no_text(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    assert read_book(data, "p_1") is None
    one = book(group("a", "b", intent_id="i_1"), group("c", intent_id=OTHER))
    write_book(data, one)
    write_book(data, book(group("b", "d", intent_id="i_2"), pattern="p_2"))
    assert read_book(data, "p_1") == one
    assert sessions_of(data, ["p_1", "p_2", "p_3"]) == {"a": "i_1", "b": "i_1", "c": OTHER, "d": "i_2"}
    (tmp_path / "intents" / "p_1.json").write_text("{")
    with pytest.raises(BadInput, match=r"intents p_1 --find"):
        read_book(data, "p_1")


def test_examples_are_shown_while_their_texts_are_kept() -> None:
    shown = described(book(group("a", "b", "c", intent_id="i_1")), {"a": "turn on the lamp"}, longest=4)
    assert shown == [{"intent_id": "i_1", "name": "n", "sessions": 3, "share": 1.0, "examples": ["turn"]}]
    assert described(book(group("gone", intent_id="i_1")), {})[0]["examples"] == []


def test_what_is_deleted_from_the_store_is_forgotten(tmp_path: Path, make_call: Callable[..., CallRecord]) -> None:
    data, said = DataDir(tmp_path), {"role": "assistant", "content": "yes"}
    texts = {"a": "cancel hotel", "b": "cancel train", "c": "cancel train", "d": "book hotel", "e": "book hotel"}
    with Store(tmp_path / "store.duckdb") as store:
        records = [
            make_call([{"role": "user", "content": text}], said, started_at=float(at), pattern="p_1", trajectory=name)
            for at, (name, text) in enumerate(texts.items())
        ]
        Ingest(store).apply([encode(record) for record in records], {})
        first = msgspec.structs.replace(group("x:a", "x:b", "x:c", intent_id="i_1"), name="hotel train")
        second, rest = group("x:d", intent_id="i_2"), group("x:e", intent_id=OTHER)
        write_book(data, book(first, second, rest))
        (data.root / "intents" / "p_2.json").write_text("damaged")
        assert forget(data, store) == 0
        store.execute("DELETE FROM trajectories WHERE trajectory_id IN ('x:a', 'x:d')")
        store.execute("DELETE FROM calls WHERE trajectory_id IN ('x:a', 'x:d')")
        assert (forget(data, store), forget(data, store)) == (1, 0)
        left = read_book(data, "p_1")
        assert left
        assert [(one.intent_id, one.sessions, one.examples) for one in left.intents] == [
            ("i_1", ("x:b", "x:c"), ()),
            (OTHER, ("x:e",), ("x:e",)),
        ]
        assert [one.name for one in left.intents] == ["cancel train", "n"], "by the texts that are left"
        store.execute("DELETE FROM trajectories")
        assert forget(data, store) == 1
        assert read_book(data, "p_1") is None
        assert (data.root / "intents" / "p_2.json").read_text() == "damaged"
