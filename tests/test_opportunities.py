"""What teaching would save: measured repetitiveness, volume and price."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from tutelage.traffic.discovery import Discovery
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.opportunities import DAY_S, opportunities
from tutelage.traffic.patterns import Registry
from tutelage.traffic.records import encode
from tutelage.traffic.store import Store

NOW = 1_800_000_000.0


def dollars(_: str, prompt: float, completion: float) -> float | None:
    return (prompt * 2 + completion * 8) / 1e6


def tool(name: str, **arguments: Any) -> dict[str, Any]:
    call = {"id": "c", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def text(words: str) -> dict[str, Any]:
    return {"role": "assistant", "content": words}


class Books:
    """A store that is fed call by call; each hint is a pattern."""

    def __init__(self, store: Store, make_call: Any) -> None:
        self.store, self.make_call, self.registry = store, make_call, Registry()
        self.ingest, self.at = Ingest(store, Discovery(self.registry)), NOW - 10 * DAY_S

    def play(self, hint: str, user: str, answer: dict[str, Any], **fields: Any) -> None:
        self.at += 60.0
        fields = {"route": "teacher"} | fields
        record = self.make_call([{"role": "user", "content": user}], answer, started_at=self.at, hint=hint, **fields)
        self.ingest.apply([encode(record)], {})

    def found(self, cost: Any = dollars, since: float = 0.0) -> dict[str, Any]:
        rows = opportunities(self.store, self.registry.entries(), cost, since, NOW)
        return {row.name: row for row in rows}


@pytest.fixture
def books(tmp_path: Path, make_call: Any) -> Any:
    with Store(tmp_path / "s.duckdb") as store:
        yield Books(store, make_call)


def test_copied_arguments_are_predictable_and_invented_ones_are_not(books: Any) -> None:
    dice = random.Random(1)
    for number in range(20):
        books.play("copy", f"Send parcel P{number}.", tool("send", parcel=f"P{number}", fast=True))
        books.play("invent", f"Letter {number}", tool("write", mood=dice.random()))
        books.play("prose", f"Letter {number}", text(f"Dear {dice.random()}"))
        books.play("stock", f"Letter {number}", text("We are closed."))
    found = books.found()
    shares = {name: (row.repetitive.count, row.repetitive.n) for name, row in found.items()}
    assert shares == {"copy": (10, 10), "invent": (0, 10), "prose": (0, 10), "stock": (10, 10)}
    assert found["copy"].top_action == "send"
    assert list(found)[2:] == sorted(list(found)[2:], key=lambda name: found[name].pattern_id)
    assert {*list(found)[:2]} == {"copy", "stock"}


def test_a_new_decision_is_no_copy(books: Any) -> None:
    for number in range(20):
        books.play("d", f"May {number} pass? true or false", tool("judge", ok=number >= 10))
    assert books.found()["d"].repetitive.count == 0


def test_a_part_of_a_word_is_no_copy(books: Any) -> None:
    for number in range(20):
        books.play("d", f"Parcel XX{number}YY", tool("send", parcel=f"{number}"))
    assert books.found()["d"].repetitive.count == 0


def test_an_unexpected_action_is_a_miss(books: Any) -> None:
    for number in range(10):
        books.play("d", f"{number}", tool("open"))
    for number in range(10, 20):
        books.play("d", f"{number}", tool("open" if number % 2 else "close"))
    row = books.found()["d"]
    assert (row.repetitive.count, row.repetitive.n) == (5, 10)
    assert row.repetitive.low < 0.5 < row.repetitive.high


def test_savings_are_monthly_and_carry_the_interval(books: Any) -> None:
    for number in range(20):
        books.play("d", f"{number}", tool("open"))
    row = books.found()["d"]
    assert row.calls == 20
    assert row.days == pytest.approx(10, abs=0.01)
    assert row.dollars == pytest.approx(20 * 280 / 1e6)
    assert row.tokens_saved.expected == pytest.approx(20 * 110 * 30 / row.days)
    assert row.tokens_saved.low == pytest.approx(row.tokens_saved.expected * row.repetitive.low)
    assert row.dollars_saved.expected == pytest.approx(row.dollars * 30 / row.days)
    assert row.dollars_saved.low < row.dollars_saved.expected == row.dollars_saved.high


def test_an_unknown_price_is_unknown_and_tokens_decide_then(books: Any) -> None:
    for number in range(20):
        books.play("cheap", f"{number}", tool("open"), usage=(1_000, 10))
        books.play("dear", f"{number}", tool("shut"), usage=(10, 500))
    assert list(books.found()) == ["dear", "cheap"]
    unknown = books.found(lambda *_: None)
    assert list(unknown) == ["cheap", "dear"]
    assert unknown["cheap"].dollars is unknown["cheap"].dollars_saved is None


def test_without_tokens_calls_decide(books: Any) -> None:
    for number in range(20):
        books.play("seldom" if number % 4 == 0 else "often", f"{number}", tool("open"), usage=(0, 0))
    assert list(books.found()) == ["often", "seldom"]


def test_calls_of_students_and_old_calls_are_no_opportunity(books: Any) -> None:
    for number in range(4):
        books.play("s", f"{number}", tool("open"), route="student", student="a@b")
    books.play("old", "1", tool("open"))
    assert list(books.found()) == ["old"]
    assert books.found(since=NOW) == {}


def test_few_runs_say_nothing(books: Any) -> None:
    books.play("d", "1", tool("open"))
    row = books.found()["d"]
    assert (row.repetitive.n, row.repetitive.share) == (0, None)
    assert (row.tokens_saved.low, row.tokens_saved.expected) == (0, 0)
