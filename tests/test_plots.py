import math
import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.plots import HEIGHT, WIDTH, Line, chart, loss_chart

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)


def places(drawing: ElementTree.Element) -> list[list[tuple[float, float]]]:
    lines = [element.attrib["points"].split() for element in drawing.iter(f"{SVG}polyline")]
    return [[tuple(map(float, point.split(","))) for point in line] for line in lines]  # type: ignore[misc]


def test_a_falling_loss_falls_on_the_page():
    drawing = parsed(loss_chart([4.0, 3.0, 2.0, 1.0], {2: 3.5, 4: 2.5}))
    each, mean, apart = places(drawing)
    assert [y for _, y in each] == sorted(y for _, y in each)
    assert len(each) == len(mean) == 4
    assert len(apart) == 2
    assert [element.text for element in drawing.iter(f"{SVG}text")][-3:] == ["each step", "moving mean", "kept apart"]
    assert "kept apart: 4, 2.5" in "".join(drawing.itertext())


def test_intervals_and_a_bar():
    text = chart(
        "Agreement", [Line("student", [(10, 0.7), (20, 0.8)], [0.6, 0.75], [0.78, 0.9], True)], "n", "", bar=0.85
    )
    drawing = parsed(text)
    whiskers = [e for e in drawing.iter(f"{SVG}line") if e.attrib["x1"] == e.attrib["x2"]]
    assert len(whiskers) == 2
    assert "bar 0.85" in text
    assert len(list(drawing.iter(f"{SVG}circle"))) == 2


def test_names_are_text_and_nothing_else():
    text = chart('<script>"&', [Line("a<b>", [(1, 1)])], "x<", "y>")
    assert "<script" not in text
    assert parsed(text).find(f"{SVG}title").text == '<script>"&'  # type: ignore[union-attr]


def test_nothing_to_draw_is_an_empty_chart():
    assert places(parsed(chart("none", [Line("a", [])], "x", "y"))) == []
    assert places(parsed(loss_chart([]))) == []


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=60),
    st.dictionaries(st.integers(1, 60), st.floats(-1e6, 1e6), max_size=5),
)
def test_whatever_was_measured_lies_on_the_page(losses: list[float], watched: dict[int, float]):
    drawing = parsed(loss_chart(losses, watched))
    for line in places(drawing):
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in line)
    assert sum(map(math.isfinite, losses)) < 2 or places(drawing)


def test_very_many_points_make_a_small_file_that_ends_where_they_do():
    text = loss_chart([5.0 + math.sin(step) for step in range(100_000)])
    assert len(text) < 60_000
    assert all(line[-1] == places(parsed(text))[0][-1] or len(line) > 400 for line in places(parsed(text)))
    assert not re.search(r"nan|inf", text)
