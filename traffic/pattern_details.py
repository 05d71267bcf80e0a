"""One pattern for people: its skeleton, tools, examples and volume by day."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from .actions import action_of, parameters, text_of
from .answers import dump
from .canonical import loads
from .conversations import answers_of, requests_of
from .newest import newest, newest_toolset
from .patterns import PatternEntry
from .skeleton import GAP, RECORDS, WILD
from .steps import label_of
from .store import Store

EXAMPLES = 3
LONGEST_TEXT = 400
"""Characters of an example's texts that are shown."""


@dataclass(frozen=True)
class SkeletonLine:
    """One line of the constant part of the system prompt."""

    text: str
    """Volatile parts stand as `⟨time⟩`, `⟨date⟩`, `⟨id⟩`, `⟨email⟩`, `⟨records⟩`, `⟨*⟩` and `⟨…⟩`."""
    volatile: bool
    """Some of it differs from call to call."""


@dataclass(frozen=True)
class Tool:
    """One tool that the pattern's calls offer."""

    name: str
    description: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """One call, shortened."""

    call_id: str
    at: float
    model: str
    last_message: str
    answer: str
    action: str
    """Typed; see `steps.label_of`."""


@dataclass(frozen=True)
class Day:
    """Volume of one UTC day."""

    day: str
    teacher_calls: int
    student_calls: int
    prompt_tokens: int
    completion_tokens: int


def skeleton_lines(entry: PatternEntry) -> list[SkeletonLine]:
    """The skeleton with its volatile parts marked."""
    marks = (GAP, WILD, RECORDS, "⟨time⟩", "⟨date⟩", "⟨id⟩", "⟨email⟩")
    return [SkeletonLine(line, any(mark in line for mark in marks)) for line in entry.skeleton]


def tools_of(store: Store, pattern_id: str) -> list[Tool]:
    """The tools as the pattern's newest call offered them."""
    body = newest_toolset(store, pattern_id)
    tools = loads(body) if body else []
    schemas = parameters(tools)
    found = []
    for tool in tools:
        function = tool.get("function", tool)
        name = str(function.get("name", "")) if isinstance(function, dict) else ""
        described = str(function.get("description") or "") if isinstance(function, dict) else ""
        schema = schemas.get(name)
        properties = schema.get("properties") if isinstance(schema, dict) else None
        found.append(Tool(name, _short(described), tuple(properties) if isinstance(properties, dict) else ()))
    return found


def examples_of(store: Store, pattern_id: str, limit: int = EXAMPLES) -> list[Example]:
    """The newest answered calls. Nothing is redacted, only shortened: this never leaves the machine."""
    sql = """
        SELECT call_id, started_at, coalesce(model, '') AS model FROM calls
        WHERE pattern_id = ? AND request_tail IS NOT NULL AND response_id IS NOT NULL AND retried IS NOT TRUE
            AND started_at >= ? ORDER BY started_at DESC LIMIT ?
    """
    rows = newest(store, limit, lambda since: store.query(sql, [pattern_id, since, limit]), [pattern_id])
    ids = [row["call_id"] for row in rows]
    requests, answers = requests_of(store, ids), answers_of(store, ids)
    return [_example(row, requests[row["call_id"]], answers.get(row["call_id"]) or {}) for row in rows]


def volume_of(store: Store, pattern_ids: Collection[str], days: int = 30) -> list[Day]:
    """Calls and tokens of the newest days that had any, the newest first."""
    sql = """
        SELECT strftime(make_timestamp(hour::BIGINT * 3600000000), '%Y-%m-%d') AS day,
               coalesce(sum(calls) FILTER (route = 'teacher'), 0)::BIGINT AS teacher_calls,
               coalesce(sum(calls) FILTER (route = 'student'), 0)::BIGINT AS student_calls,
               sum(prompt_tokens)::BIGINT AS prompt_tokens, sum(completion_tokens)::BIGINT AS completion_tokens
        FROM traffic_hours WHERE list_contains(?, pattern_id) GROUP BY day ORDER BY day DESC LIMIT ?
    """
    return [Day(**row) for row in store.query(sql, [list(pattern_ids), days])]


def _example(row: dict[str, Any], request: dict[str, Any], answer: dict[str, Any]) -> Example:
    last = request["messages"][-1]
    calls = dump(answer["tool_calls"]) if answer.get("tool_calls") else ""
    said = " ".join(part for part in (text_of(answer.get("content")), calls) if part)
    return Example(
        row["call_id"],
        row["started_at"],
        row["model"],
        _short(text_of(last.get("content")) or dump(last)),
        _short(said or dump(answer)),
        label_of(action_of(answer)),
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + f"… ({len(text)} characters)"
