"""Which span belongs to which run: spans of the Agents SDK as plain objects."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tutelage.plugins.openai_agents_runs import Runs, tag_of
from tutelage.plugins.tags import Tag


def span(span_id: str, parent: str = "", kind: str = "turn", name: str = "", trace: str = "t") -> Any:
    return SimpleNamespace(
        trace_id=trace, span_id=span_id, parent_id=parent or None, span_data=SimpleNamespace(type=kind, name=name)
    )


def tag(runs: Runs, *spans: Any) -> Tag | None:
    """The names of a call in the last of these spans."""
    place = None
    for one in spans:
        place = runs.start(one)
    return tag_of(place) if place else None


def begun(group: object = None, metadata: Any = None) -> Runs:
    runs = Runs()
    runs.open("t", group, metadata)
    return runs


def test_the_first_run_bears_the_name_of_its_trace() -> None:
    runs = begun("thread 1")
    agent = span("a", "task", "agent", "desk")
    assert tag(runs, span("task", kind="task"), agent, span("turn", "a"), span("g", "turn", "generation")) == Tag(
        "t", "", "thread 1", "desk"
    )


def test_a_task_inside_of_another_one_has_a_parent() -> None:
    runs = begun()
    outer = (span("task", kind="task"), span("a", "task", "agent", "front"), span("f", "a", "function", "ask"))
    inner = (span("task2", "f", "task"), span("a2", "task2", "agent", "weather"), span("g", "a2", "generation"))
    assert tag(runs, *outer, *inner) == Tag("task2", "t", "", "weather")
    assert tag(runs, span("g2", "a", "generation")) == Tag("t", "", "", "front")


def test_a_second_run_of_a_trace_is_another_one_without_a_parent() -> None:
    runs = begun()
    tag(runs, span("task", kind="task"))
    assert tag(runs, span("task2", kind="task"), span("g", "task2", "generation")) == Tag("task2")


def test_metadata_names_the_first_run_and_all_work() -> None:
    runs = begun("thread", {"tutelage_trajectory": "order 7", "tutelage_pattern": "wörk"})
    assert tag(runs, span("task", kind="task"), span("a", "task", "agent", "x")) == Tag(
        "order 7", "", "thread", "w%C3%B6rk"
    )
    assert tag(runs, span("task2", "a", "task")) == Tag("task2", "order 7", "thread", "w%C3%B6rk")


def test_what_is_not_known_is_not_named() -> None:
    runs = begun()
    assert tag(runs, span("g", "nobody knows", "generation")) is None
    assert tag(Runs(), span("task", kind="task", trace="missed")) == Tag("task")
    assert runs.end(span("never begun")) is None


def test_all_maps_are_bounded_and_empty_at_the_end() -> None:
    runs = Runs(most=5)
    for number in range(20):
        runs.open(f"t{number}", None, None)
        runs.start(span(f"s{number}", kind="task", trace=f"t{number}"))
    assert len(runs) == 10
    for number in range(20):
        runs.end(span(f"s{number}"))
        runs.close(f"t{number}")
    assert len(runs) == 0


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(["task", "agent", "function", "turn"])))
)
def test_calls_never_get_the_names_of_another_trace(steps: list[tuple[int, int, str]]) -> None:
    runs = Runs()
    for trace in ("even", "odd"):
        runs.open(trace, trace, None)
    for number, parent, kind in steps:
        trace = ("even", "odd")[number % 2]
        parent_id = f"{parent}" if parent % 2 == number % 2 else ""
        place = runs.start(span(f"{number}", parent_id, kind, trace=trace))
        assert place is None or tag_of(place).conversation == trace
