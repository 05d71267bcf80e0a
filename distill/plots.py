"""Small line charts as SVG files: the loss of a training, an evaluation by epoch, a learning curve.

They are kept with a version and read years later, so they need nothing but a viewer: no script, no style sheet, no
font of their own. Every point that was measured is in the file, its figures in the title of the point.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 720, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 40, 48
_COLOURS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#475569")
_MOST_POINTS = 600


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    points: Sequence[tuple[float, float]]
    """(x, y), by x. What is not finite breaks the line."""
    low: Sequence[float] = ()
    """Lower ends of intervals around the points, drawn as whiskers; as many as points, or none."""
    high: Sequence[float] = ()
    dots: bool = False
    """Whether each point is marked."""


@dataclass(frozen=True)
class _Scale:
    """From values to places, along one axis."""

    first: float
    last: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.first) / (self.last - self.first)
        return round(self.start + share * (self.end - self.start), 1)


def chart(title: str, lines: Sequence[Line], x_name: str, y_name: str, *, bar: float | None = None) -> str:
    """The chart as text of an SVG file. `bar`: a level to reach, drawn as a dashed line. Lines may be empty."""
    drawn = [_finite(line) for line in lines]
    xs = [x for line in drawn for x, _ in line.points]
    ys = [y for line in drawn for y in (*(y for _, y in line.points), *line.low, *line.high)]
    ys += [bar] if bar is not None else []
    across = _Scale(*_around(xs), _LEFT, WIDTH - _RIGHT)
    up = _Scale(*_around(ys), HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="11" fill="#334155"><title>{escape(title)}</title>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="18" font-size="13" font-weight="600">{escape(title)}</text>',
        *_axes(across, up, x_name, y_name),
    ]
    if bar is not None:
        parts.append(_rule(up(bar), f"bar {bar:g}"))
    for line, colour in zip(drawn, _cycle(), strict=False):
        parts += _drawn(line, colour, across, up)
    parts += _legend([line.name for line in lines])
    return "\n".join([*parts, "</svg>\n"])


def loss_chart(losses: Sequence[float], watched: dict[int, float] | None = None) -> str:
    """The loss of a training by step: each step's, their moving mean, and that of the sessions kept apart."""
    steps = [(float(step), loss) for step, loss in enumerate(losses, 1)]
    lines = [Line("each step", steps), Line("moving mean", list(_smooth(steps)))]
    if watched:
        lines.append(Line("kept apart", [(float(step), loss) for step, loss in sorted(watched.items())], dots=True))
    return chart("Loss over the trained tokens", lines, "step", "nats per token")


def _smooth(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Exponential moving mean over about a twentieth of the points, corrected for its beginning."""
    keep = 1 - 1 / max(1.0, len(points) / 20)
    total = weight = 0.0
    for x, y in points:
        total, weight = keep * total + y, keep * weight + 1
        yield x, total / weight


def _finite(line: Line) -> Line:
    """The line without what cannot be drawn; of very many points every so many-th, and the last."""
    places = [place for place, point in enumerate(line.points) if all(map(math.isfinite, point))]
    every = math.ceil(len(places) / _MOST_POINTS) or 1
    kept = [place for at, place in enumerate(places) if at % every == 0 or at == len(places) - 1]

    def of(values: Sequence[float]) -> list[float]:
        return [values[place] for place in kept] if len(values) == len(line.points) else []

    return Line(line.name, [line.points[place] for place in kept], of(line.low), of(line.high), line.dots)


def _around(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis that holds all values, never of length 0."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    margin = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def _axes(across: _Scale, up: _Scale, x_name: str, y_name: str) -> Iterator[str]:
    for value in _ticks(up.first, up.last):
        yield f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{up(value)}" y2="{up(value)}" stroke="#e2e8f0"/>'
        yield f'<text x="{_LEFT - 6}" y="{up(value) + 4}" text-anchor="end">{value:g}</text>'
    for value in _ticks(across.first, across.last):
        yield f'<text x="{across(value)}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:g}</text>'
    yield f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 14}" text-anchor="end">{escape(x_name)}</text>'
    yield f'<text x="{WIDTH - _RIGHT}" y="{_TOP - 8}" text-anchor="end">{escape(y_name)}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """About five round values between the ends."""
    rough = (high - low) / 5
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first = math.ceil(low / step)
    return [round(number * step, 12) for number in range(first, math.floor(high / step) + 1)]


def _rule(y: float, name: str) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="#64748b" stroke-dasharray="4 4"/>'
        f'<text x="{_LEFT + 4}" y="{y - 4}">{escape(name)}</text>'
    )


def _drawn(line: Line, colour: str, across: _Scale, up: _Scale) -> Iterator[str]:
    places = [(across(x), up(y)) for x, y in line.points]
    if len(places) > 1:
        path = " ".join(f"{x},{y}" for x, y in places)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
    for (x, _), low, high in zip(places, line.low, line.high, strict=False):
        yield f'<line x1="{x}" x2="{x}" y1="{up(low)}" y2="{up(high)}" stroke="{colour}" stroke-width="1"/>'
    if line.dots or len(places) == 1:
        for (x, y), (value_x, value_y) in zip(places, line.points, strict=True):
            told = f"{line.name}: {value_x:g}, {value_y:.4g}"
            yield f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"><title>{escape(told)}</title></circle>'


def _legend(names: Sequence[str]) -> Iterator[str]:
    ends = [_LEFT]
    for name in names:
        ends.append(ends[-1] + 28 + 6 * len(name))
    for (x, _), name, colour in zip(pairwise(ends), names, _cycle(), strict=False):
        yield f'<rect x="{x}" y="{HEIGHT - 22}" width="10" height="3" fill="{colour}"/>'
        yield f'<text x="{x + 14}" y="{HEIGHT - 14}">{escape(name)}</text>'


def _cycle() -> Iterator[str]:
    while True:
        yield from _COLOURS
