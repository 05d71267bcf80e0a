"""Whether the store says the truth: every name is derived again from the content, every reference is followed.

Read from one snapshot, a few thousand rows at a time, so a running proxy is not disturbed and memory stays bounded.
Each problem names the table, the row and the field.

Rows that nothing refers to any more (messages of a request that could not be read to its end, say) are counted as
`unreferenced`. They are no problem: nothing is missing, and nothing is wrong with them.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from .answers import clean
from .canonical import ROOT, canonical_message, loads, name_of, toolset_id
from .errors import BadInput
from .lookup import NAME_KEY, ids_table
from .oddities import Oddities, Oddity
from .rollup import settle
from .snapshots import Snapshot
from .store import Store
from .sums import CALLERS, DAYS, LATENCIES, RUNS, SESSIONS, SUMS

MOST_SHOWN = 1_000
"""Problems of a table that are listed one by one; the others are counted."""
_BATCH = 2_048
_HASHED = ("messages", "toolsets", "calls")
_UNREADABLE = (BadInput, ValueError, TypeError, AttributeError, RecursionError)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    table: str
    row: str
    field: str
    what: str


@dataclass
class VerifyReport:
    """What was looked at and what was found."""

    messages: int = 0
    toolsets: int = 0
    calls: int = 0
    trajectories: int = 0
    found: int = 0
    """Problems altogether."""
    found_in: dict[str, int] = field(default_factory=dict)
    """By table."""
    problems: list[Problem] = field(default_factory=list)
    """The first ones of each table."""
    unreferenced_messages: int = 0
    unreferenced_toolsets: int = 0
    odd: list[Oddity] = field(default_factory=list)
    """Odd content; no problem of the store."""
    seconds: float = 0.0

    def add(self, table: str, row: Any, name: str, what: str) -> None:
        """Note a problem."""
        self.found += 1
        of_table = self.found_in.get(table, 0)
        self.found_in[table] = of_table + 1
        if of_table < MOST_SHOWN:
            self.problems.append(Problem(table, str(row), name, what))


def verify(store: Store, progress: Progress = lambda done, total: None) -> VerifyReport:
    """Check everything. `progress` is told rows done and rows in all."""
    started, report, odd = time.perf_counter(), VerifyReport(), Oddities()
    settle(store)
    with store.snapshot() as view:
        [totals] = view.rows("SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in _HASHED))
        report.messages, report.toolsets, report.calls = totals
        broken, done = set[str](), 0
        for table, columns, check in (
            ("messages", "message_id, parent_id, depth, role, body", partial(_message, odd)),
            ("toolsets", "toolset_id, body", _toolset),
            ("calls", "call_id, params, request_tail", _call),
        ):
            for rows in view.batches(table, columns, _BATCH):
                broken.update(row for row in map(check, [report] * len(rows), rows) if row)
                done += len(rows)
                progress(done, sum(totals))
        broken |= _parents(view, report)
        _references(view, report)
        _name_keys(view, report)
        _chains(view, report, broken)
        _runs(view, report)
        _sums(view, report)
        report.unreferenced_messages, report.unreferenced_toolsets = _unreferenced(view)
        report.odd = odd.found(view)
    report.seconds = time.perf_counter() - started
    return report


def _message(odd: Oddities, report: VerifyReport, row: tuple[Any, ...]) -> str:
    """Check one message by itself; returns its id if it is not what it is called."""
    message_id, parent_id, depth, role, body = row
    try:
        message = loads(body)
        found = name_of(parent_id.hex, canonical_message(message))
    except _UNREADABLE as error:
        report.add("messages", message_id, "body", f"cannot be read: {error}")
        return str(message_id)
    if not isinstance(message, dict) or clean(message.get("role")) != role:
        report.add("messages", message_id, "role", f"is {role!r}, which is not what the body says")
    if isinstance(message, dict):
        odd.see(str(message_id), str(parent_id), depth, message, body)
    if found != message_id.hex:
        report.add("messages", message_id, "message_id", f"parent and body give the name {UUID(found)}")
        return str(message_id)
    return ""


def _toolset(report: VerifyReport, row: tuple[Any, ...]) -> str:
    name, body = row
    try:
        found = toolset_id(loads(body))
    except _UNREADABLE as error:
        report.add("toolsets", name, "body", f"cannot be read: {error}")
        return ""
    if found != name.hex:
        report.add("toolsets", name, "toolset_id", f"the body gives the name {UUID(found) if found else 'of no tools'}")
    return ""


def _call(report: VerifyReport, row: tuple[Any, ...]) -> str:
    call_id, params, tail = row
    try:
        if tail is not None and not isinstance(loads(params or ""), dict):
            raise BadInput("it is no JSON object")
    except _UNREADABLE as error:
        report.add("calls", call_id, "params", f"cannot be read: {error}")
    return ""


def _parents(view: Snapshot, report: VerifyReport) -> set[str]:
    """Messages without their parent, or at a depth that does not follow from it; returns the former."""
    sql = f"""
        SELECT m.message_id, m.parent_id, m.depth, p.depth FROM messages m
        LEFT JOIN messages p ON p.message_id = m.parent_id
        WHERE m.depth IS DISTINCT FROM CASE WHEN m.parent_id = '{UUID(ROOT)}' THEN 0 ELSE p.depth + 1 END
    """
    missing = set[str]()
    for name, parent, depth, above in view.rows(sql):
        first = parent.hex == ROOT
        if above is None and not first:
            missing.add(str(name))
            report.add("messages", name, "parent_id", f"there is no message {parent}")
        else:
            right = 0 if first or above is None else above + 1
            report.add("messages", name, "depth", f"is {depth}, but its place in the conversation is {right}")
    return missing


_DANGLING = (
    ("calls", "call_id", "request_tail", "messages", "message_id"),
    ("calls", "call_id", "response_id", "messages", "message_id"),
    ("calls", "call_id", "toolset_id", "toolsets", "toolset_id"),
    ("calls", "call_id", "trajectory_id", "trajectories", "trajectory_id"),
    ("calls", "call_id", "pattern_id", "patterns", "pattern_id"),
    ("calls", "call_id", "retry_of", "calls", "call_id"),
    ("trajectories", "trajectory_id", "agent_id", "patterns", "agent_id"),
    ("comparisons", "call_id", "call_id", "calls", "call_id"),
    ("comparisons", "call_id", "trajectory_id", "trajectories", "trajectory_id"),
    ("teacher_repeats", "call_id", "call_id", "calls", "call_id"),
    ("verdicts", "seq", "call_id", "calls", "call_id"),
    ("feedback", "feedback_id", "call_id", "calls", "call_id"),
    ("feedback", "feedback_id", "trajectory_id", "trajectories", "trajectory_id"),
    ("verifications", "verifier", "trajectory_id", "trajectories", "trajectory_id"),
)
"""Table, its key, the field that refers, the table and the key that it refers to. The parent of a run is no reference:
a run may be named that has no calls."""


def _name_keys(view: Snapshot, report: VerifyReport) -> None:
    right = NAME_KEY.format(name="upstream_id")
    sql = f"SELECT call_id, upstream_id FROM calls WHERE upstream_key IS DISTINCT FROM {right}"
    _all(report, "calls", "upstream_key", view.rows(sql), "is not the key of {}, so the answer cannot be found by it")


def _references(view: Snapshot, report: VerifyReport) -> None:
    for table, key, name, other, other_key in _DANGLING:
        gone = f"{name} IS NOT NULL AND {name} NOT IN (SELECT {other_key} FROM {other})"
        sql = f"SELECT {key}, {name} FROM {table} WHERE {gone}"
        _all(report, table, name, view.rows(sql), f"there is no row {{}} in {other}")
    sql = """
        SELECT c.call_id, m.parent_id FROM calls c JOIN messages m ON m.message_id = c.response_id
        WHERE m.parent_id IS DISTINCT FROM c.request_tail
    """
    _all(report, "calls", "response_id", view.rows(sql), "the answer follows message {}, not the end of the request")


def _chains(view: Snapshot, report: VerifyReport, broken: Iterable[str]) -> None:
    """Calls whose conversation leads through a message that is wrong or lacks its parent."""
    sql = """
        WITH RECURSIVE broken(message_id) AS (
            SELECT CAST(id AS UUID) FROM batch
            UNION SELECT m.message_id FROM broken b JOIN messages m ON m.parent_id = b.message_id
        )
        SELECT call_id, request_tail FROM calls
        WHERE request_tail IN (SELECT message_id FROM broken) OR response_id IN (SELECT message_id FROM broken)
    """
    ids = ids_table(broken)
    if len(ids):
        found = view.join(sql, ids)
        _all(report, "calls", "request_tail", found, "the chain up from {} leads through a damaged message")


def _runs(view: Snapshot, report: VerifyReport) -> None:
    [(report.trajectories,)] = view.rows("SELECT count(*) FROM trajectories")
    sql = """
        SELECT t.trajectory_id, t.calls, coalesce(n, 0) FROM trajectories t LEFT JOIN (
            SELECT trajectory_id, count(*) AS n FROM calls WHERE retry_of IS NULL GROUP BY trajectory_id
        ) USING (trajectory_id) WHERE t.calls <> coalesce(n, 0)
    """
    for name, said, counted in view.rows(sql):
        report.add("trajectories", name, "calls", f"is {said}, but it has {counted}")


_SUMS = {
    "traffic_hours": SUMS,
    "traffic_days": DAYS,
    "latency_days": LATENCIES,
    "caller_days": CALLERS,
    "pattern_runs": RUNS,
    "pattern_sessions": SESSIONS,
}
"""Tables of sums over the calls, and what gives each anew."""


def _sums(view: Snapshot, report: VerifyReport) -> None:
    """Sums that are not those of the calls; each row that is wrong, missing or too many is a problem."""
    for table, statement in _SUMS.items():
        columns = [name for name, *_ in view.rows(f"DESCRIBE {table}")]
        listed = ", ".join(columns)
        said, right = (
            f"SELECT {listed} FROM {table}",
            f"SELECT {listed} FROM ({statement.format(source='calls', sign='')})",
        )
        for wrong, what in (
            (f"{said} EXCEPT {right}", "is not what"),
            (f"{right} EXCEPT {said}", "is missing, though"),
        ):
            for row in view.rows(wrong):
                named = ", ".join(map(str, row[:4]))
                report.add(table, named, columns[0], f"{what} the calls give")


def _unreferenced(view: Snapshot) -> tuple[int, int]:
    sql = """
        WITH RECURSIVE used(message_id) AS (
            SELECT request_tail FROM calls WHERE request_tail IS NOT NULL
            UNION SELECT response_id FROM calls WHERE response_id IS NOT NULL
            UNION SELECT m.parent_id FROM used JOIN messages m USING (message_id)
        )
        SELECT (SELECT count(*) FROM messages ANTI JOIN used USING (message_id)),
            (SELECT count(*) FROM toolsets ANTI JOIN calls USING (toolset_id))
    """
    [(messages, toolsets)] = view.rows(sql)
    return messages, toolsets


def _all(report: VerifyReport, table: str, name: str, rows: Iterable[tuple[Any, ...]], what: str) -> None:
    for row, value in rows:
        report.add(table, row, name, what.format(value))
