"""The traffic chart as geometry, and how numbers are written for people."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..traffic.queries import TrafficPoint

WIDTH, HEIGHT = 720, 130
ROUTES = ("student", "teacher", "none")
"""From the bottom of a bar to its top."""


@dataclass(frozen=True)
class Part:
    """One coloured piece of a bar."""

    route: str
    y: float
    height: float


@dataclass(frozen=True)
class Bar:
    """One minute."""

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


def chart_of(points: Sequence[TrafficPoint], start: float, minutes: int) -> Chart:
    """Calls by minute from `start` (Unix seconds, a whole minute) on."""
    calls: dict[int, dict[str, int]] = {}
    for point in points:
        minute = int((point.at - start) // 60)
        if 0 <= minute < minutes:
            route = point.route if point.route in ROUTES else "none"
            calls.setdefault(minute, {}).setdefault(route, 0)
            calls[minute][route] += point.calls
    top = nice(max((sum(by_route.values()) for by_route in calls.values()), default=0))
    step = WIDTH / minutes
    bars = tuple(_bar(minute, by_route, top, step, start) for minute, by_route in sorted(calls.items()))
    marks = [start + 60 * minutes * part / 4 for part in range(4)] + [start + 60 * minutes]
    labels = tuple(time.strftime("%H:%M", time.gmtime(mark)) for mark in marks)
    return Chart(WIDTH, HEIGHT, f"{top:,} a minute", bars, labels)


def nice(largest: int) -> int:
    """The smallest of 5, 10, 20, 50, 100, … that is at least `largest`."""
    top, steps = 5, (2, 2, 2.5)
    place = 0
    while top < largest:
        top, place = int(top * steps[place % 3]), place + 1
    return top


def _bar(minute: int, calls: dict[str, int], top: int, step: float, start: float) -> Bar:
    parts: list[Part] = []
    base = float(HEIGHT)
    for route in ROUTES:
        height = HEIGHT * calls.get(route, 0) / top
        if height:
            base -= height
            parts.append(Part(route, round(base, 2), round(height, 2)))
    told = ", ".join(f"{calls[route]} {route}" for route in ROUTES if calls.get(route))
    at = time.strftime("%H:%M", time.gmtime(start + 60 * minute))
    return Bar(round(minute * step + step * 0.1, 2), round(step * 0.8, 2), tuple(parts), f"{at}: {told}")


def count(value: float) -> str:
    """1234 → `1,234`; from a hundred thousand on `123 k`, `1.2 M`."""
    if abs(value) < 100_000:
        return f"{value:,.0f}"
    return f"{value / 1e3:,.0f} k" if abs(value) < 1e6 else f"{value / 1e6:,.1f} M"


def money(dollars: float | None) -> str:
    """`$0.0012`, `$12.34`; an unknown amount says so."""
    if dollars is None:
        return "unknown"
    sign = "−" if dollars < 0 else ""
    return f"{sign}${abs(dollars):,.{2 if abs(dollars) >= 1 or not dollars else 4}f}"


def size(number: float) -> str:
    """Bytes with a unit."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"


def clock(at: float, now: float) -> str:
    """Time of day today, else the date."""
    form = "%H:%M:%S" if int(at // 86_400) == int(now // 86_400) else "%b %d"
    return time.strftime(form, time.gmtime(at))
