"""The ledger's two rules: unknown is not zero, and savings are net of audits."""

from typing import Any

import pytest

from tutelage.proxy.ledger import Ledger, cost, ledger, price_of, total
from tutelage.proxy.options import Price

PRICES = {"teacher-1-big": Price(2.0, 8.0)}


def test_savings_are_in_the_teachers_tokens_and_net_of_audits(control_world: Any) -> None:
    world = control_world
    world.play(40, usage=(100, 10))
    world.add_student()
    world.play(60, usage=(100, 10))
    world.label()
    world.idle()
    world.play(20, usage=(12, 10), route="student", student=world.version)  # a short prompt of its own
    world.label("audit")  # the teacher is paid 50 + 10 tokens for each
    book: Ledger = ledger(world.plane.store, PRICES)
    (saving,) = book.savings
    assert (saving.calls, saving.audits) == (20, 20)
    assert saving.tokens == 20 * 110 - 20 * 60
    assert saving.dollars == pytest.approx((20 * (100 - 50) * 2.0 + 0) / 1e6)
    assert book.spent() == pytest.approx(100 * (100 * 2.0 + 10 * 8.0) / 1e6)
    assert book.saved() == saving.dollars
    assert book.unpriced == ()
    assert {line.route: line.calls for line in book.lines} == {"teacher": 100, "student": 20}
    whole = ledger(world.plane.store, PRICES, by_day=False)
    assert {(line.day, line.route): line.calls for line in whole.lines} == {("", "teacher"): 100, ("", "student"): 20}
    assert (whole.savings, whole.spent()) == (book.savings, pytest.approx(book.spent()))


def test_an_unknown_price_makes_the_sum_unknown(control_world: Any) -> None:
    control_world.play(3)
    book = ledger(control_world.plane.store, {})
    assert book.spent() is None
    assert book.unpriced == ("teacher-1-big",)
    assert book.saved() == 0.0  # nothing was served by a student


def test_an_answer_without_a_token_count_makes_the_sum_unknown(control_world: Any) -> None:
    control_world.play(1, response=b'{"choices": [{"message": {"role": "assistant", "content": "x"}}]}')
    assert ledger(control_world.plane.store, PRICES).spent() is None


def test_a_failed_call_costs_nothing(control_world: Any) -> None:
    control_world.play(1, status=500, response=b'{"error": {"message": "no"}}')
    assert ledger(control_world.plane.store, {}).spent() == 0.0


@pytest.mark.parametrize(
    ("model", "found"), [("m", True), ("m-2026-11-20", True), ("m-20261120", True), ("m-mini", False), ("", False)]
)
def test_a_date_at_the_end_of_a_model_does_not_hide_its_price(model: str, found: bool) -> None:
    assert (price_of(model, {"m": Price(1.0, 1.0)}) is not None) is found


def test_sums() -> None:
    assert total([1.0, 2.0]) == 3.0
    assert total([1.0, None]) is None
    assert cost(None, 5, 5) is None
    assert cost(Price(1.0, 2.0), 1e6, 1e6) == 3.0
