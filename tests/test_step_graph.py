"""The step graph over runs put together by hand."""

import pytest

from tutelage.traffic.actions import Action
from tutelage.traffic.step_graph import END, START, as_dot, step_graph
from tutelage.traffic.steps import Run, Step


def step(run: str, label: str, exact: str = "", route: str = "teacher", counted: bool = True) -> Step:
    action = Action("text", (), exact)
    return Step("c", run, "p_1", label, action, exact or label, "m", route, 100, 10, counted)


def run(name: str, *labels: str) -> Run:
    return Run(name, tuple(step(name, label) for label in labels))


def dollars(model: str, prompt: float, completion: float) -> float | None:
    return (prompt + 10 * completion) / 1e3 if model == "m" else None


RUNS = [run("1", "look", "book", "(text)"), run("2", "look", "look", "book", "(text)"), run("3", "look", "(text)")]


def test_what_follows_what_and_how_often() -> None:
    graph = step_graph(RUNS, dollars)
    assert (graph.runs, graph.calls, graph.different_paths) == (3, 9, 3)
    edges = {(edge.before, edge.after): (edge.share.count, edge.share.n) for edge in graph.edges}
    assert edges == {
        (START, "look"): (3, 3),
        ("look", "look"): (1, 4),
        ("look", "book"): (2, 4),
        ("look", "(text)"): (1, 4),
        ("book", "(text)"): (2, 2),
        ("(text)", END): (3, 3),
    }
    first = graph.edges[0]
    assert first.share.count == 3
    assert (first.prompt_tokens, first.completion_tokens) in ((300, 30), (0, 0))
    look = next(edge for edge in graph.edges if edge.after == "book")
    assert (look.prompt_tokens, look.completion_tokens, look.dollars) == (200, 20, pytest.approx(0.4))
    assert sum(edge.prompt_tokens for edge in graph.edges) == 900


def test_work_that_repeats_within_a_run_is_counted() -> None:
    graph = step_graph(RUNS, dollars)
    look = next(node for node in graph.nodes if node.action == "look")
    assert (look.calls, look.runs) == (4, 3)
    assert (look.repeated.count, look.repeated.n) == (1, 4)
    other = step_graph([Run("1", (step("1", "look", "a"), step("1", "look", "b")))], dollars)
    assert other.nodes[0].repeated.count == 0, "other arguments are other work"


def test_the_same_path_of_many_runs_comes_first() -> None:
    graph = step_graph([*RUNS, run("4", "look", "(text)")], dollars)
    assert graph.paths[0].actions == ("look", "(text)")
    assert (graph.paths[0].share.count, graph.paths[0].share.n) == (2, 4)


def test_unknown_money_stays_unknown_and_students_cost_nothing() -> None:
    known = step_graph([Run("1", (step("1", "a", route="student"), step("1", "a", "x")))], dollars)
    assert known.nodes[0].dollars == pytest.approx(0.2)
    assert step_graph([Run("1", (step("1", "a", counted=False),))], dollars).nodes[0].dollars is None
    assert step_graph(RUNS, lambda *_: None).nodes[0].dollars is None


def test_no_runs_give_an_empty_graph() -> None:
    graph = step_graph([], dollars)
    assert (graph.runs, graph.nodes, graph.edges, graph.paths) == (0, (), (), ())
    assert as_dot(graph).startswith("digraph")


def test_dot_quotes_what_it_must() -> None:
    text = as_dot(step_graph([run("1", 'say "hi"')], dollars))
    assert '"say \\"hi\\""' in text
    assert '"(start)" -> "say \\"hi\\"" [label="1 of 1"' in text
