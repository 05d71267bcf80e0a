"""What a student has brought: every cost is in it, unknown is never zero, and the day on which it has paid off."""

from datetime import date, timedelta
from typing import Any

import pytest

from tutelage.proxy.options import Price
from tutelage.proxy.savings import Amounts, _even, balance
from tutelage.traffic.students import Manifest, PromptSpec

TEACHER, STUDENT = Price(2.0, 8.0), Price(0.5, 1.0)
PRICES = {"teacher-1-big": TEACHER, "student": STUDENT}


def version(world: Any, seconds: float = 7_200.0) -> Manifest:
    return Manifest(
        version=world.version,
        name="parcels",
        status="candidate",
        created_at=world.now,
        agent_id="a",
        pattern_ids=[world.pattern],
        base="tiny",
        base_digest="0",
        prompt=PromptSpec(),
        snapshot_at=world.now,
        data_digest="0",
        seconds={"train": seconds},
    )


@pytest.fixture
def world(control_world: Any) -> Any:
    """100 calls of the teacher, 60 of them in shadow, and 20 of a student, all audited."""
    control_world.play(40, usage=(100, 10))
    control_world.add_student()
    control_world.play(60, usage=(100, 10))
    control_world.label()
    control_world.idle()
    control_world.play(20, usage=(12, 10), route="student", student=control_world.version)
    control_world.label("audit")
    return control_world


def test_every_cost_is_taken_off(world: Any) -> None:
    store = world.plane.store
    store.execute(
        "INSERT INTO verdicts SELECT 1, ?, call_id, student, kind, pattern_id, 'judge', 'm', 'accept', NULL, '', NULL, "
        "NULL, 2, 9, 9, 0.001 FROM comparisons LIMIT 1",
        [world.now],
    )
    store.execute(
        "INSERT INTO teacher_repeats SELECT call_id, pattern_id, trajectory_id, 0, '', 1, '', '', ?, 1, 100, 10 "
        "FROM comparisons LIMIT 1",
        [world.now],
    )
    found = balance(store, PRICES, [version(world)], training_usd_hour=0.01)
    (line,) = found.patterns
    assert (line.pattern_id, line.calls, line.tokens_avoided) == (world.pattern, 20, 20 * 110)
    expected = {
        "avoided": 20 * (100 * 2.0 + 10 * 8.0) / 1e6,
        "serving": 20 * (12 * 0.5 + 10 * 1.0) / 1e6,
        "shadow": 60 * (50 * 0.5 + 10 * 1.0) / 1e6,
        "audit": (20 * (50 * 2.0 + 10 * 8.0) + 100 * 2.0 + 10 * 8.0) / 1e6,
        "judge": 0.001,
        "training": 0.02,
    }
    assert vars(line.amounts) == pytest.approx(expected)
    assert line.net == found.net == pytest.approx(2 * expected["avoided"] - sum(expected.values()))
    assert sum(day.net or 0.0 for day in found.days) == pytest.approx(line.net)
    assert (line.even_on, found.unpriced) == (None, ())


@pytest.mark.parametrize(
    ("prices", "hour", "named", "unknown"),
    [
        ({"student": STUDENT}, 0.01, "teacher-1-big", {"avoided", "audit"}),
        ({"teacher-1-big": TEACHER}, 0.01, "student", {"serving", "shadow"}),
        (PRICES, None, "training", {"training"}),
    ],
)
def test_what_has_no_price_is_unknown_and_never_zero(
    world: Any, prices: dict[str, Price], hour: float | None, named: str, unknown: set[str]
) -> None:
    found = balance(world.plane.store, prices, [version(world)], hour)
    (line,) = found.patterns
    assert {part for part, dollars in vars(line.amounts).items() if dollars is None} == unknown
    assert (line.net, found.net, line.even_on) == (None, None, None)
    assert found.unpriced == (named,)


def test_a_judge_without_a_price_is_unknown_too(world: Any) -> None:
    world.plane.store.execute(
        "INSERT INTO verdicts SELECT 1, ?, call_id, student, kind, pattern_id, 'judge', 'm', 'accept', NULL, '', NULL, "
        "NULL, 2, 9, 9, NULL FROM comparisons LIMIT 1",
        [world.now],
    )
    found = balance(world.plane.store, PRICES)
    assert found.patterns[0].amounts.judge is None
    assert found.unpriced == ("judge",)


def test_what_was_not_used_needs_no_price(control_world: Any) -> None:
    control_world.play(3)
    found = balance(control_world.plane.store, {})
    assert (found.patterns, found.net, found.unpriced) == ((), 0.0, ())
    assert Amounts().net == 0.0


def test_students_are_priced_by_version_name_or_all_together(world: Any) -> None:
    dear = Price(50.0, 100.0)
    for name, price in ((world.version, dear), ("parcels", dear), ("student", STUDENT)):
        found = balance(world.plane.store, {"teacher-1-big": TEACHER, "student": STUDENT, name: price})
        cost = 20 * (12 * price.input + 10 * price.output) / 1e6
        assert found.patterns[0].amounts.serving == pytest.approx(cost)


def test_only_what_lies_in_the_time_asked_for(world: Any) -> None:
    assert balance(world.plane.store, PRICES, [version(world)], 1.0, since=world.now + 1).patterns == ()


DAY = date(2026, 1, 1)


def days(*nets: float | None) -> list[tuple[date, float | None]]:
    return [(DAY + timedelta(days=number), net) for number, net in enumerate(nets)]


@pytest.mark.parametrize(
    ("nets", "even", "projected"),
    [
        ([], None, False),
        ([1.0, 2.0], None, False),
        ([-3.0, 1.0, 2.0, 1.0], 2, False),
        ([-3.0, 4.0, -5.0, 2.0, 2.0], 4, False),
        ([-3.0, 1.0, 0.5], None, False),
        ([-30.0, *[1.0] * 7], 7 + 23, True),
        ([-30.0, *[-1.0] * 7], None, False),
        ([-3.0, None, 9.0], None, False),
    ],
)
def test_the_day_on_which_it_has_paid_off(nets: list[float | None], even: int | None, projected: bool) -> None:
    expected = None if even is None else DAY + timedelta(days=even)
    assert _even(days(*nets)) == (expected, projected)
