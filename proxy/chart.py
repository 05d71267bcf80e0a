"""Charts as geometry: stacked bars of traffic, lines on a logarithmic scale, sparklines. The templates only draw."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ..traffic.queries import TrafficPoint

WIDTH, HEIGHT = 720, 130
ROUTES = ("student", "teacher", "none")
"""From the bottom of a bar to its top."""
MOST_POINTS = 360
"""Points drawn of one line; of what lies between, the highest is kept."""
SPARK_WIDTH, SPARK_HEIGHT = 96, 22
Height = Callable[[float], float]


class Span(NamedTuple):
    """A length of time and how it is cut into bars."""

    label: str
    step_s: float
    steps: int
    form: str
    """Of the times below the chart."""

    def start(self, now: float) -> float:
        """Begin of the oldest bar (Unix seconds); the newest one holds `now`."""
        return (now // self.step_s - self.steps + 1) * self.step_s


SPANS = {
    "1h": Span("hour", 60.0, 60, "%H:%M"),
    "24h": Span("24 hours", 1_800.0, 48, "%H:%M"),
    "7d": Span("7 days", 10_800.0, 56, "%b %d"),
    "30d": Span("30 days", 43_200.0, 60, "%b %d"),
}


@dataclass(frozen=True)
class Part:
    """One coloured piece of a bar."""

    route: str
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    """One step of time."""

    x: float
    width: float
    parts: tuple[Part, ...]
    title: str


@dataclass(frozen=True)
class Chart:
    """Stacked bars, in units of the drawing."""

    width: int
    height: int
    top: str
    """What the upper edge stands for."""
    bars: tuple[Bar, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Level:
    """A horizontal line that means something."""

    y: float
    label: str
    tone: str
    """`good`, `warn` or `bad`."""


@dataclass(frozen=True)
class Tick:
    """A mark of the vertical axis."""

    y: float
    label: str


@dataclass(frozen=True)
class Plot:
    """One line over the number of sessions or steps."""

    width: int
    height: int
    points: str
    """Of an SVG polyline."""
    levels: tuple[Level, ...]
    ticks: tuple[Tick, ...]
    first: str
    last: str
    """What stands below the left and the right end."""
    title: str
    """The whole in words, for those who do not see it."""


def chart_of(points: Sequence[TrafficPoint], span: Span, now: float, shares: bool = False) -> Chart:
    """Calls by step of time and route; with `shares`, each bar is as high as the chart."""
    start = span.start(now)
    calls: dict[int, dict[str, int]] = {}
    for point in points:
        step = int((point.at - start) // span.step_s)
        if 0 <= step < span.steps:
            route = point.route if point.route in ROUTES else "none"
            calls.setdefault(step, {}).setdefault(route, 0)
            calls[step][route] += point.calls
    top = nice(max((sum(by_route.values()) for by_route in calls.values()), default=0))
    bars = tuple(
        _bar(step, by_route, sum(by_route.values()) or 1 if shares else top, span, start)
        for step, by_route in sorted(calls.items())
    )
    marks = [start + span.step_s * span.steps * part / 4 for part in range(5)]
    labels = tuple(time.strftime(span.form, time.gmtime(mark)) for mark in marks)
    return Chart(WIDTH, HEIGHT, "100 %" if shares else f"{top:,} a {_step_name(span.step_s)}", bars, labels)


def _step_name(step_s: float) -> str:
    if step_s < 3_600:
        minutes = f"{step_s / 60:.0f}"
        return "minute" if minutes == "1" else f"{minutes} minutes"
    return f"{step_s / 3_600:.0f} hours"


def nice(largest: int) -> int:
    """The smallest of 5, 10, 20, 50, 100, … that is at least `largest`."""
    top, steps = 5, (2, 2, 2.5)
    place = 0
    while top < largest:
        top, place = int(top * steps[place % 3]), place + 1
    return top


def _bar(step: int, calls: Mapping[str, int], top: int, span: Span, start: float) -> Bar:
    parts: list[Part] = []
    base = float(HEIGHT)
    for route in ROUTES:
        height = HEIGHT * calls.get(route, 0) / top
        if height:
            base -= height
            parts.append(Part(route, round(base, 2), round(height, 2)))
    told = ", ".join(f"{calls[route]:,} {route}" for route in ROUTES if calls.get(route))
    at = time.strftime("%b %d %H:%M", time.gmtime(start + span.step_s * step))
    width = WIDTH / span.steps
    return Bar(round(step * width + width * 0.1, 2), round(width * 0.8, 2), tuple(parts), f"{at}: {told}")


def log_plot(
    values: Sequence[float], levels: Iterable[tuple[float, str, str]], unit: str, title: str, first: int = 0
) -> Plot:
    """A line of natural logarithms over `first`, … `unit`s; `levels` are (natural log, label, tone).

    The axis is marked in powers of ten. What is below a ten-thousandth is drawn there: such wealth is lost anyway.
    """
    marks = list(levels)
    floor = math.log(1e-4)
    drawn = [max(value, floor) for value in values]
    low = min([*drawn, 0.0, *(value for value, _, _ in marks)])
    high = max([*drawn, 0.0, *(value for value, _, _ in marks)]) + 0.3
    powers = range(math.ceil(low / math.log(10) - 1e-9), math.floor(high / math.log(10)) + 1)
    step = max(1, math.ceil(len(powers) / 6))

    def y(value: float) -> float:
        return round(HEIGHT * (high - value) / (high - low or 1.0), 2)

    return Plot(
        WIDTH,
        HEIGHT,
        _polyline(drawn, WIDTH, y),
        tuple(Level(y(value), label, tone) for value, label, tone in marks),
        tuple(Tick(y(power * math.log(10)), _power(power)) for power in powers[::step]),
        str(first),
        f"{max(len(values) - 1 + first, 0):,} {unit}",
        title,
    )


def linear_plot(values: Sequence[float], unit: str, title: str) -> Plot:
    """A line of values from 0 upwards over 1, 2, 3, … `unit`s."""
    high = max([*values, 1e-9]) * 1.05

    def y(value: float) -> float:
        return round(HEIGHT * (1 - max(value, 0.0) / high), 2)

    ticks = tuple(Tick(y(high * part / 4), f"{high * part / 4:.2g}") for part in range(4))
    return Plot(WIDTH, HEIGHT, _polyline(values, WIDTH, y), (), ticks, "1", f"{len(values):,} {unit}", title)


def sparkline(counts: Sequence[float]) -> str:
    """The points of a small line without axes; empty when there is nothing to show."""
    high = max(counts, default=0)
    if high <= 0:
        return ""
    return _polyline(counts, SPARK_WIDTH, lambda value: round(1 + (SPARK_HEIGHT - 2) * (1 - value / high), 1))


def _polyline(values: Sequence[float], width: float, y: Height) -> str:
    places = _thinned(values)
    last = max(len(values) - 1, 1)
    return " ".join(f"{round(width * place / last, 1):g},{y(value):g}" for place, value in places)


def _thinned(values: Sequence[float]) -> list[tuple[int, float]]:
    """At most about MOST_POINTS (place, value): the highest of each stretch, the first and the last."""
    if len(values) <= MOST_POINTS:
        return list(enumerate(values))
    edges = [round(len(values) * part / MOST_POINTS) for part in range(MOST_POINTS + 1)]
    inner = [max(range(begin, end), key=values.__getitem__) for begin, end in pairwise(edges)]
    return [(place, values[place]) for place in sorted({0, *inner, len(values) - 1})]


def _power(power: int) -> str:
    return f"{10**power:,}" if 0 <= power < 7 else f"10^{power}"
