"""The comparator: its rules one by one, and the traps of well-known benchmarks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic.compare import COMPARATOR, compare
from tutelage.traffic.tool_policy import ToolPolicy, ToolRule

READ = "get_weather"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "set_temperature",
            "parameters": {
                "type": "object",
                "properties": {
                    "room": {"type": "string"},
                    "degrees": {"type": "number"},
                    "unit": {"enum": ["C", "F"], "default": "C"},
                    "note": {"type": "string"},
                    "trace_id": {"type": "string"},
                },
            },
        },
    },
    {"type": "function", "function": {"name": "lock", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": READ, "parameters": {"type": "object"}}},
]
POLICY = ToolPolicy(
    rules={
        READ: ToolRule(kind="read-only", free_text=("why",)),
        "set_temperature": ToolRule(free_text=("note",), ignore=("trace_id",)),
    }
)


def acts(*calls: tuple[str, Any]) -> dict[str, Any]:
    """An assistant's message with these calls; ids and spacing differ from message to message as they do in life."""
    wire = [
        {"id": f"c{id(arguments)}", "type": "function", "function": {"name": name, "arguments": written(arguments)}}
        for name, arguments in calls
    ]
    return {"role": "assistant", "content": None, "tool_calls": wire}


def written(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def heat(**arguments: Any) -> dict[str, Any]:
    return acts(("set_temperature", arguments))


@pytest.mark.parametrize(
    ("teacher", "student", "loss", "reason"),
    [
        (heat(degrees=5), None, 1, "missing"),
        (heat(degrees=5), {}, 1, "invalid:empty"),
        (heat(degrees=5), acts(("set_heat", {})), 1, "invalid:unknown_tool"),
        (heat(degrees=5), acts(("set_temperature", "{")), 1, "invalid:bad_json"),
        (heat(degrees=5), heat(degrees="5"), 1, "invalid:schema:$.degrees"),
        (heat(degrees=5), {"content": None, "refusal": "no"}, 1, "invalid:refusal"),
        (acts(("set_temperature", "{")), heat(degrees=5), 1, "teacher_invalid"),
        (heat(degrees=5), says("Which room?"), 1, "kind:tools/text"),
        (says("Which room?"), heat(degrees=5), 1, "kind:text/tools"),
        (heat(degrees=5), acts(("lock", {})), 1, "tools"),
        (heat(degrees=5), acts(("set_temperature", {"degrees": 5}), ("lock", {})), 1, "tools"),
        (heat(degrees=5), heat(degrees=5.0), 0, "same"),
        (heat(degrees=5), acts(("set_temperature", '{ "degrees" : 5 }')), 0, "same"),
        (heat(room="a", degrees=5), heat(degrees=5, room="a"), 0, "same"),
        (heat(degrees=5), heat(degrees=5, unit="C"), 0, "same"),
        (heat(degrees=5), heat(degrees=5, unit="F"), 1, "arguments:set_temperature.unit"),
        (heat(degrees=1.5), heat(degrees=15), 1, "arguments:set_temperature.degrees"),
        (heat(degrees=-5), heat(degrees=5), 1, "arguments:set_temperature.degrees"),
        (heat(room="1.5"), heat(room="15"), 1, "arguments:set_temperature.room"),
        (heat(room="-5"), heat(room="5"), 1, "arguments:set_temperature.room"),
        (heat(room="a", degrees=5), heat(), 1, "arguments:set_temperature.degrees"),
        (heat(), heat(room="a"), 1, "arguments:set_temperature.room"),
        (heat(note="It is cold."), heat(note="it is cold"), 0, "same"),
        (heat(note="It is cold."), heat(note="it is not cold"), 1, "arguments:set_temperature.note"),
        (heat(note="It is cold."), heat(note="it feels chilly"), 1, "unsure:set_temperature.note"),
        (heat(note="cold", degrees=1), heat(note="chilly", degrees=2), 1, "arguments:set_temperature.degrees"),
        (heat(trace_id="1"), heat(trace_id="2"), 0, "same"),
        (heat(trace_id="1"), heat(), 0, "same"),
        (acts((READ, {"q": "a"})), acts((READ, {"q": "b"})), 0.5, f"arguments:{READ}.q"),
        (says("The light is on."), says("the light is on"), 0, "same"),
        (says("It is 1.5."), says("It is 15."), 1, "numbers"),
        (says("The lamp glows."), says("The lamp is lit."), 1, "unsure"),
    ],
)
def test_rules(teacher: dict[str, Any], student: dict[str, Any] | None, loss: float, reason: str) -> None:
    assert compare(teacher, student, TOOLS, POLICY) == (loss, reason, COMPARATOR, POLICY.digest)


@pytest.mark.parametrize(
    ("teacher", "student", "loss", "reason"),
    [
        ([("lock", {"d": 1}), ("lock", {"d": 2})], [("lock", {"d": 2}), ("lock", {"d": 1})], 1, "arguments:lock.d"),
        ([("lock", {}), ("set_temperature", {})], [("set_temperature", {}), ("lock", {})], 1, "order"),
        ([(READ, {"q": 1}), (READ, {"q": 2})], [(READ, {"q": 2}), (READ, {"q": 1})], 0, "same"),
        ([(READ, {"q": 1}), ("lock", {})], [("lock", {}), (READ, {"q": 1})], 0, "same"),
        ([(READ, {"q": 1}), ("lock", {"d": 1})], [("lock", {"d": 2}), (READ, {"q": 3})], 1, "arguments:lock.d"),
        ([(READ, {"q": 1}), (READ, {"q": 2})], [(READ, {"q": 3}), (READ, {"q": 1})], 0.5, f"arguments:{READ}.q"),
        ([(READ, {}), (READ, {})], [(READ, {})], 1, "tools"),
        ([(READ, {"why": "warm"})], [(READ, {"why": "hot"})], 0.5, f"unsure:{READ}.why"),
        (
            [("set_temperature", {"note": "warm"}), (READ, {"q": 1})],
            [("set_temperature", {"note": "hot"}), (READ, {"q": 2})],
            1,
            f"arguments:{READ}.q",
        ),
    ],
)
def test_several_calls(teacher: list[Any], student: list[Any], loss: float, reason: str) -> None:
    assert compare(acts(*teacher), acts(*student), TOOLS, POLICY)[:2] == (loss, reason)


def test_without_a_policy_every_tool_writes() -> None:
    verdict = compare(acts((READ, {"q": 1})), acts((READ, {"q": 2})), TOOLS)
    assert verdict.loss == 1


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_an_answer_that_was_cut_off_is_a_loss(finish: str) -> None:
    message = says("The light is on.")
    assert compare(message, message, TOOLS, finish=finish)[:2] == (1, f"invalid:{finish}")


@pytest.mark.parametrize(
    ("rule", "one", "other", "reason"),
    [
        (ToolRule(free_text=("order.note",)), {"order": {"note": "Hi."}}, {"order": {"note": "hi"}}, "same"),
        (ToolRule(free_text=("rows[].note",)), {"rows": [{"note": "Hi."}]}, {"rows": [{"note": "hi"}]}, "same"),
        (ToolRule(free_text=("rows",)), {"rows": [{"note": "Hi."}]}, {"rows": [{"note": "hi"}]}, "same"),
        (ToolRule(ignore=("meta",)), {"meta": {"at": 1}}, {"meta": {"at": 2}}, "same"),
        (ToolRule(ignore=("met",)), {"meta": {"at": 1}}, {"meta": {"at": 2}}, "arguments:lock.meta.at"),
        (ToolRule(), {"rows": [1, {"a": 2}]}, {"rows": [1, {"a": 3}]}, "arguments:lock.rows[1].a"),
        (ToolRule(), {"rows": [1]}, {"rows": [1, 2]}, "arguments:lock.rows"),
        (ToolRule(), {"rows": {}}, {"rows": []}, "arguments:lock.rows"),
    ],
)
def test_parameters_inside_others(rule: ToolRule, one: Any, other: Any, reason: str) -> None:
    found = compare(acts(("lock", one)), acts(("lock", other)), TOOLS, ToolPolicy(rules={"lock": rule}))
    assert found.reason == reason


def test_values_of_any_depth_are_compared() -> None:
    """Each side is 2,000 levels deep; the difference lies at the bottom."""
    deep = [acts(("lock", '{"d":' + "[" * 2000 + bottom + "]" * 2000 + "}")) for bottom in "12"]
    assert compare(deep[0], deep[1], TOOLS).loss == 1


def test_true_is_not_one() -> None:
    assert compare(acts(("lock", {"d": True})), acts(("lock", {"d": 1})), TOOLS).loss == 1


VALUE = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=6)
ARGUMENTS = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUE | st.lists(VALUE, max_size=2), max_size=3)
CALLS = st.lists(st.tuples(st.sampled_from(["lock", READ]), ARGUMENTS), min_size=1, max_size=4)
MESSAGE = st.builds(lambda calls: acts(*calls), CALLS) | st.builds(says, st.text(min_size=1).filter(str.strip))


@given(MESSAGE)
def test_every_message_is_as_good_as_itself(message: dict[str, Any]) -> None:
    assert compare(message, message, TOOLS, POLICY)[:2] == (0, "same")


@given(MESSAGE, MESSAGE)
def test_the_loss_is_symmetric(one: dict[str, Any], other: dict[str, Any]) -> None:
    there, back = compare(one, other, TOOLS, POLICY), compare(other, one, TOOLS, POLICY)
    assert there.loss == back.loss
    assert 0 <= there.loss <= 1
    assert (there.loss == 0) == (there.reason == "same")


@given(CALLS, st.randoms())
def test_reads_may_come_in_any_order(calls: list[tuple[str, Any]], rng: Any) -> None:
    reads = [(READ, arguments) for _, arguments in calls]
    shuffled = rng.sample(reads, len(reads))
    assert compare(acts(*reads), acts(*shuffled), TOOLS, POLICY).loss == 0


@given(ARGUMENTS, ARGUMENTS)
def test_arguments_match_only_if_equal_as_json(one: dict[str, Any], other: dict[str, Any]) -> None:
    """No normalisation may join what JSON keeps apart, but for spaces around a string."""
    loss = compare(acts(("lock", one)), acts(("lock", other)), TOOLS).loss
    if loss == 0:
        assert one.keys() == other.keys()
        for key in one:
            assert isinstance(one[key], bool) == isinstance(other[key], bool)
            assert isinstance(one[key], str) == isinstance(other[key], str)
