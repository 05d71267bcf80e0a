"""How numbers are written for people: counts, money, bytes, times; a risk never stands without its n and interval."""

import time
from dataclasses import dataclass

NO_VALUE = "–"


@dataclass(frozen=True)
class RiskBar:
    """The interval of a risk as a line, in hundredths of the drawn width; its scale ends at four times the limit."""

    low: float
    high: float
    point: float
    limit: float
    tone: str
    """`good`: wholly below the limit; `bad`: wholly above; empty: undecided."""


@dataclass(frozen=True)
class Measured:
    """A share or a risk for a page: the figure, its interval with n, and both drawn."""

    figure: str
    """`–` without data."""
    interval: str
    bar: RiskBar | None


def measured(value: float | None, low: float, high: float, n: int, limit: float | None = None) -> Measured:
    """A mean loss with its interval; `limit`: the risk that is allowed, if any is."""
    if value is None or not n:
        return Measured(NO_VALUE, "no evidence: n = 0", None)
    text = f"{low:.3f} to {high:.3f} · n = {n:,}" + (f" · limit {limit:g}" if limit is not None else "")
    scale = 100 / (min(1.0, 4 * limit) if limit else 1.0)
    ends = [round(min(part * scale, 100.0), 1) for part in (low, high, value, limit or 0.0)]
    tone = "" if limit is None else "good" if high < limit else "bad" if low > limit else ""
    return Measured(f"{value:.3f}", text, RiskBar(ends[0], ends[1], ends[2], ends[3], tone))


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
    """Time of day today, else the date (UTC)."""
    form = "%H:%M:%S" if int(at // 86_400) == int(now // 86_400) else "%b %d"
    return time.strftime(form, time.gmtime(at))


def moment(at: float | None) -> str:
    """Date and time to the second, UTC; `–` for a time that never was."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at)) if at else NO_VALUE


def ago(at: float | None, now: float) -> str:
    """`12 s ago`, `3 h ago`; `never` for a time that never was."""
    return f"{duration(max(now - at, 0.0))} ago" if at else "never"


def duration(seconds: float) -> str:
    """In the largest unit that fits: `0.3 s`, `12 s`, `5 min`, `3 h`, `4 d`."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    for unit, length, following in (("min", 60.0, 7_200.0), ("h", 3_600.0, 172_800.0)):
        if seconds < following:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def millis(value: float | None) -> str:
    """Milliseconds: `0.4 ms`, `312 ms`, `4.2 s`; `–` without data."""
    if value is None:
        return NO_VALUE
    if value >= 10_000:
        return f"{value / 1000:.0f} s"
    if value >= 1_000:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def of(part: float, whole: float) -> str:
    """A share with what it is a share of: `12 % (3 of 25)`; `–` of nothing."""
    return f"{part / whole:.0%} ({count(part)} of {count(whole)})" if whole else NO_VALUE


def short(text: str, longest: int = 160) -> str:
    """One line of a text, cut where it is too long."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
