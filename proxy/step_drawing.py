"""The step graph as a drawing: actions in columns by how early they come, thicker lines for what happens more often.

Loops and steps back are drawn as arcs above the boxes. Of a large graph the busiest actions and ways are drawn; the
table beside the drawing has all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..traffic.step_graph import END, START, Edge, StepGraph

MOST_NODES, MOST_WAYS = 14, 30
BOX_WIDTH, BOX_HEIGHT, COLUMN, ROW, MARGIN = 132, 40, 190, 62, 34
LONGEST_NAME = 20


@dataclass(frozen=True)
class Box:
    """One action."""

    x: float
    y: float
    name: str
    note: str
    title: str


@dataclass(frozen=True)
class Way:
    """One action after another."""

    path: str
    """Of an SVG path."""
    width: float
    title: str


@dataclass(frozen=True)
class Drawing:
    """All of it."""

    width: int
    height: int
    box_width: int
    box_height: int
    boxes: tuple[Box, ...]
    ways: tuple[Way, ...]
    hidden: int
    """Ways that are in the table only."""
    title: str


def drawing_of(graph: StepGraph) -> Drawing | None:
    """The drawing; None for a graph without calls."""
    if not graph.calls:
        return None
    calls = {node.action: node.calls for node in graph.nodes}
    shown = {START, END, *[node.action for node in graph.nodes][:MOST_NODES]}
    edges = [edge for edge in graph.edges if {edge.before, edge.after} <= shown][:MOST_WAYS]
    columns = _columns(edges)
    places = _places(columns, calls)
    width = 2 * MARGIN + COLUMN * max(columns.values()) + BOX_WIDTH
    height = 2 * MARGIN + ROW * (max(row for _, row in places.values()) + 1)
    points = {name: (MARGIN + COLUMN * x, MARGIN + ROW * y) for name, (x, y) in places.items()}
    most = max(edge.share.count for edge in edges)
    return Drawing(
        width,
        height,
        BOX_WIDTH,
        BOX_HEIGHT,
        tuple(_box(name, points[name], calls.get(name)) for name in points),
        tuple(_way(edge, points, most) for edge in edges),
        len(graph.edges) - len(edges),
        f"Steps of {graph.runs:,} runs: {', '.join(columns)}.",
    )


def _columns(edges: Sequence[Edge]) -> dict[str, int]:
    """How far from the start each action is, in steps of the busiest ways; the end is last."""
    column = {START: 0}
    queue = [START]
    while queue:
        name = queue.pop(0)
        for edge in edges:
            if edge.before == name and edge.after not in column:
                column[edge.after] = column[name] + 1
                queue.append(edge.after)
    if END in column:
        column[END] = max(column[name] for name in column if name != END) + 1
    # What only hidden ways lead to stands beside the start's followers.
    return {name: 1 for edge in edges for name in (edge.before, edge.after)} | column


def _places(columns: Mapping[str, int], calls: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    rows: dict[int, int] = {}
    places = {}
    for name in sorted(columns, key=lambda name: (columns[name], -calls.get(name, 0), name)):
        column = columns[name]
        places[name] = column, rows.get(column, 0)
        rows[column] = rows.get(column, 0) + 1
    return places


def _box(name: str, at: tuple[float, float], calls: int | None) -> Box:
    shown = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    note = "" if calls is None else f"{calls:,} calls"
    return Box(*at, shown, note, f"{name}: {note}" if note else name)


def _way(edge: Edge, points: Mapping[str, tuple[float, float]], most: float) -> Way:
    (x1, y1), (x2, y2) = points[edge.before], points[edge.after]
    middle = BOX_HEIGHT / 2
    if x2 > x1:
        begin, end, bend = x1 + BOX_WIDTH, x2, (x2 - x1 - BOX_WIDTH) / 2
        path = f"M{begin} {y1 + middle} C{begin + bend} {y1 + middle} {end - bend} {y2 + middle} {end} {y2 + middle}"
    else:
        begin, end, top = x1 + BOX_WIDTH * 0.6, x2 + BOX_WIDTH * 0.4, min(y1, y2) - 26
        path = f"M{begin:g} {y1} C{begin + 20:g} {top} {end - 20:g} {top} {end:g} {y2}"
    share = edge.share
    told = f"{edge.before} → {edge.after}: {share.count:,.0f} of {share.n:,}"
    return Way(path, round(1 + 5 * share.count / most, 1), told)
