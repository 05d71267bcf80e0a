"""When to train: a pure decision from what each agent needs, what was done, and the clock.

A run is due when an agent has its first students to learn from, when enough new successful sessions have come, when a
student has lost a pattern, or when a pattern has come that no student knows. A run that was cut short goes first. All
of that only inside the windows, within the budget of hours, and after a pause for the agent.
"""

import re
from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import NamedTuple

import msgspec

from ..traffic.errors import BadInput
from .options import ScheduleOptions

HOUR_S, DAY_S = 3_600.0, 86_400.0
RESUMED, DRIFT, NEW_PATTERN = "resumed: ", "drift: ", "new pattern: "
"""How the reason of a run begins."""
_WINDOW = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


class Need(msgspec.Struct, frozen=True):
    """What an agent has to offer and lacks: a row of `GET /api/needs`."""

    agent_id: str
    name: str
    sessions: int
    """Successful sessions in all."""
    new_sessions: int
    """Of them, those that no version has seen, rejected or not: newer than the newest one's snapshot."""
    version: str
    """Newest version that may be used, else the newest of all; empty without any."""
    lost: list[str]
    """Patterns that this version has lost again, by a guard or a gate."""
    unknown: list[str]
    """Patterns of the agent that this version does not know."""


class Entry(msgspec.Struct, frozen=True):
    """One run in the history."""

    at: float
    """Begin, Unix seconds."""
    agent_id: str
    reason: str
    export: str
    """Folder of the sessions."""
    ended_at: float | None = None
    """None while it runs; also of one whose watcher has died."""
    outcome: str = ""
    """`registered`, `rejected`, `failed` or `stopped`."""
    version: str = ""
    message: str = ""

    @property
    def open(self) -> bool:
        """Whether it was begun and has not come to an end."""
        return self.ended_at is None or self.outcome == "stopped"


class Due(NamedTuple):
    """A run to start."""

    agent_id: str
    reason: str
    export: str = ""
    """Sessions to go on with; empty: they are exported anew."""


class Wait(NamedTuple):
    """Nothing to start, and why."""

    why: str


def decide(
    needs: Sequence[Need], history: Sequence[Entry], options: ScheduleOptions, least: int, now: datetime
) -> Due | Wait:
    """The next run. `least`: sessions that training needs at least. `now`: this machine's time, with its zone."""
    if not in_window(options, now):
        return Wait(f"outside of the windows {', '.join(options.windows)}")
    spent = hours(history, now.timestamp())
    if spent >= options.budget_h:
        return Wait(f"{spent:.1f} of {options.budget_h:g} hours of the day are used")
    if history and history[-1].open:
        last = history[-1]
        return Due(last.agent_id, RESUMED + last.reason.removeprefix(RESUMED), last.export)
    due = [(need, reason) for need in needs if (reason := why(need, options, least))]
    for need, reason in sorted(due, key=lambda one: -one[0].new_sessions):
        ended = max((one.ended_at or one.at for one in history if one.agent_id == need.agent_id), default=0.0)
        if now.timestamp() - ended >= options.pause_h * HOUR_S:
            return Due(need.agent_id, reason)
    return Wait("a pause after the last run" if due else "nothing new enough to learn from")


def why(need: Need, options: ScheduleOptions, least: int) -> str:
    """Why an agent's student should be trained now; empty: it should not."""
    if need.sessions < least:
        return ""
    if not need.version:
        return f"first: {need.sessions} successful sessions"
    # The same sessions would only give the same student again.
    if need.lost and need.new_sessions >= least:
        return f"{DRIFT}{need.version} has lost {', '.join(need.lost)}"
    if need.unknown and need.new_sessions >= least:
        return f"{NEW_PATTERN}{', '.join(need.unknown)}"
    return f"sessions: {need.new_sessions} new ones" if need.new_sessions >= options.new_sessions else ""


def needed(reason: str) -> str:
    """The reason, where the version before cannot go on: a student as good as it is wanted then. Empty: it can."""
    asked = reason.removeprefix(RESUMED)
    return asked if asked.startswith((DRIFT, NEW_PATTERN)) else ""


def hours(history: Sequence[Entry], now: float) -> float:
    """Hours of training in the 24 before `now`."""
    spans = ((max(one.at, now - DAY_S), min(one.ended_at or now, now)) for one in history)
    return sum(max(0.0, end - begin) for begin, end in spans) / HOUR_S


def in_window(options: ScheduleOptions, now: datetime) -> bool:
    """Whether one may train at this time of day; a window over midnight is one. Raises BadInput for a broken window."""
    windows = [_window(text) for text in options.windows]
    at = now.time().replace(tzinfo=None)
    inside = (first <= at < last if first < last else at >= first or at < last for first, last in windows)
    return not windows or any(inside)


def left(options: ScheduleOptions, history: Sequence[Entry], now: datetime) -> float:
    """Seconds that a run which is started or going on now may take: to the window's end, or the budget's."""
    budget = options.budget_h * HOUR_S - hours(history, now.timestamp()) * HOUR_S
    if not options.windows:
        return budget
    step = timedelta(minutes=1)
    end = now.replace(second=0, microsecond=0)
    while in_window(options, end) and (end - now).total_seconds() < DAY_S:
        end += step
    return min(budget, (end - now).total_seconds())


def check(options: ScheduleOptions) -> ScheduleOptions:
    """The options themselves. Raises BadInput for a window that is none."""
    for text in options.windows:
        _window(text)
    return options


def _window(text: str) -> tuple[time, time]:
    found = _WINDOW.fullmatch(text)
    try:
        if found:
            first, second, third, fourth = map(int, found.groups())
            return time(first, second), time(third, fourth)
    except ValueError:
        pass
    raise BadInput(f"schedule.windows holds {text!r}; expected a time of day such as 22:00-06:00.")


def fold(lines: Sequence[Entry]) -> list[Entry]:
    """The history as its lines tell: a run's later line, of the same begin, replaces its earlier one."""
    found: dict[tuple[float, str], Entry] = {}
    for one in lines:
        found[one.at, one.agent_id] = one
    return list(found.values())
