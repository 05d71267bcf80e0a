"""The support desk: its tools on a real database, its teacher's ways, and its runs through a real proxy."""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tutelage.examples.support_desk.__main__ import main, opened
from tutelage.examples.support_desk.agent import DATABASE, it_was_done
from tutelage.examples.support_desk.customers import WISHES, customers
from tutelage.examples.support_desk.shop import TOOLS, Shop, tools
from tutelage.examples.support_desk.story import DeskStory
from tutelage.examples.support_desk.teacher import ONLY_ORDERS, answer
from tutelage.traffic.verifiers import Trajectory

Json = dict[str, Any]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    made = Shop(tmp_path / "shop.sqlite")
    yield made
    made.close()


def played(shop: Shop, text: str, plain_numbers: bool = False) -> list[Json]:
    """The conversation about a message, to its last word."""
    messages: list[Json] = [{"role": "user", "content": text}]
    for _ in range(5):
        messages.append(answer({"messages": messages}, plain_numbers))
        calls = messages[-1].get("tool_calls") or ()
        if not calls:
            return messages
        results = [shop.run(call["function"]["name"], call["function"]["arguments"]) for call in calls]
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": r} for call, r in zip(calls, results, strict=True)
        ]
    raise AssertionError(messages)


def judged(messages: list[Json]) -> bool | None:
    return it_was_done(Trajectory("t", messages, [], []))


def test_every_wish_is_served_with_every_tool_and_is_in_the_database(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATABASE, str(tmp_path / "shop.sqlite"))
    used: Counter[str] = Counter()
    wishes = set()
    for customer in islice(customers(shop, 3), 300):
        messages = played(shop, customer.text)
        assert "error" not in json.dumps(messages), messages
        assert judged(messages) is True, messages
        wishes.add(customer.wish)
        used.update(call["function"]["name"] for one in messages for call in one.get("tool_calls") or ())
    assert wishes == set(WISHES)
    assert set(used) == set(TOOLS)
    assert len(TOOLS) == 10


def test_customers_are_seeded(tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        shop = Shop(tmp_path / name)
        made.append(list(islice(customers(shop, 5), 50)))
        shop.close()
    assert made[0] == made[1]


def test_a_run_whose_work_is_not_in_the_database_has_failed(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATABASE, str(tmp_path / "shop.sqlite"))
    customer = next(one for one in customers(shop, 1) if one.wish == "cancel" and one.status == "open")
    messages = played(shop, customer.text)
    assert judged(messages) is True
    shop.rows("UPDATE orders SET status = 'open' WHERE id = ?", customer.order)
    assert judged(messages) is False
    assert judged(messages[:-1]) is False
    assert judged([messages[0], {"role": "assistant", "content": ONLY_ORDERS}]) is None
    assert judged(played(shop, customer.text, plain_numbers=True)) is False


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("get_order", {"order": "O-1"}, "no order"),
        ("find_customer", {"email": "x@y.z"}, "nobody"),
        ("cancel_order", {"order": "O-10001"}, "delivered"),
        ("track_shipment", {"order": "O-10001"}, "delivered"),
        ("refund_order", {"order": "O-10001", "reason": "damaged"}, "for 31 days"),
        ("replace_item", {"order": "O-10001", "sku": "none"}, "has no"),
        ("open_ticket", {"customer": 99, "topic": "x"}, "FOREIGN KEY"),
        ("get_order", {}, "argument"),
        ("drop_table", {}, "drop_table"),
    ],
)
def test_a_tool_says_why_it_cannot(shop: Shop, name: str, arguments: Json, words: str) -> None:
    shop.add("customers", id=1, name="A", email="a@b.c")
    shop.add(
        "orders", id="O-10001", customer=1, status="delivered", days=31, cents=100, city="Oslo", street="Mill Lane 1"
    )
    before = [shop.rows(f"SELECT * FROM {table}") for table in ("orders", "refunds", "replacements", "tickets")]
    assert words in json.loads(shop.run(name, json.dumps(arguments)))["error"]
    assert before == [shop.rows(f"SELECT * FROM {table}") for table in ("orders", "refunds", "replacements", "tickets")]


def test_the_schemas_are_those_of_the_functions() -> None:
    by_name = {tool["function"]["name"]: tool["function"] for tool in tools()}
    assert set(by_name) == set(TOOLS)
    assert by_name["change_address"]["parameters"]["required"] == ["order", "street", "city"]
    assert by_name["list_orders"]["parameters"]["properties"]["customer"]["type"] == "integer"
    assert all(tool["description"] for tool in by_name.values())


@pytest.mark.slow
def test_the_desk_at_work(capsys: pytest.CaptureFixture[str]) -> None:
    with opened() as place:
        main(place, 16)
    assert DATABASE not in os.environ
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("Pattern ") for line in lines) == 2
    assert "Of the first 8 runs 8 went well." in lines
    [second] = [line for line in lines if line.startswith("Of the second 8 runs")]
    assert int(second.split()[-3]) <= 2


@pytest.mark.slow
def test_the_desk_s_story_begins(tmp_path: Path) -> None:
    """Up to the training, which `python -m tutelage.examples.support_desk.story` plays as well."""

    class Beginning(DeskStory):
        plan = replace(DeskStory.plan, observe=12)

        def acts(self) -> tuple[Callable[[], None], ...]:
            return (self.start, self.observe, self.shop_is_busy)

        def shop_is_busy(self) -> None:
            assert len(self.shop.rows("SELECT id FROM orders")) == 12
            assert "hyphen" in self.change()
            self.serve(1)

    told = Console(record=True, file=io.StringIO())
    result = Beginning(told, data=tmp_path).run(leave_dashboard=False, figures=tmp_path / "figures.json")
    assert (result["sessions"], result["errors"], result["unfinished"]) == (13, 0, 0)
    assert result["served_by_teacher"] == result["calls_sent"] >= result["calls_logged"] >= 24
    assert not result["promoted"]
    assert json.loads((tmp_path / "figures.json").read_text()) == result
    assert DATABASE not in os.environ
    assert "Patterns found: " in told.export_text()


def test_the_teacher_starts_as_its_reader_starts_it() -> None:
    command = [sys.executable, "-m", "tutelage.examples.support_desk.teacher", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "--port" in done.stdout
