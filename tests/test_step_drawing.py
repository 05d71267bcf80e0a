"""The step graph's drawing."""

from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.step_drawing import BOX_HEIGHT, BOX_WIDTH, MOST_NODES, drawing_of
from tutelage.traffic.actions import Action
from tutelage.traffic.step_graph import step_graph
from tutelage.traffic.steps import Run, Step


def run_of(number: int, labels: list[str]) -> Run:
    action = Action("text", (), "")
    name = f"run{number}"
    steps = [
        Step(f"c{i}", name, "p", label, action, label, "m", "teacher", 10, 1, True) for i, label in enumerate(labels)
    ]
    return Run(name, tuple(steps))


def test_without_calls_there_is_no_drawing() -> None:
    assert drawing_of(step_graph([], lambda *_: 0.0)) is None


def test_actions_stand_in_the_order_of_the_steps() -> None:
    drawing = drawing_of(step_graph([run_of(n, ["find", "book", "(text)"]) for n in range(9)], lambda *_: 0.0))
    assert drawing is not None
    order = [box.name for box in sorted(drawing.boxes, key=lambda box: box.x)]
    assert order == ["(start)", "find", "book", "(text)", "(end)"]
    assert [way.width for way in drawing.ways] == [6.0] * 4
    assert drawing.hidden == 0


@given(
    st.lists(
        st.lists(st.sampled_from([f"tool{n}" for n in range(20)]), min_size=1, max_size=8), min_size=1, max_size=30
    )
)
def test_any_graph_fits_its_drawing(runs: list[list[str]]) -> None:
    graph = step_graph([run_of(number, labels) for number, labels in enumerate(runs)], lambda *_: 0.0)
    drawing = drawing_of(graph)
    assert drawing is not None
    assert len(drawing.boxes) <= MOST_NODES + 2
    assert len(drawing.ways) + drawing.hidden == len(graph.edges)
    for box in drawing.boxes:
        assert 0 <= box.x <= drawing.width - BOX_WIDTH
        assert 0 <= box.y <= drawing.height - BOX_HEIGHT
    assert len({(box.x, box.y) for box in drawing.boxes}) == len(drawing.boxes)
