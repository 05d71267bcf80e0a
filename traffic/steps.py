"""The calls of agents' runs as steps: one typed action each, in the order in which the run made them.

Of several attempts of one action only the last is a step, and calls without a whole answer are none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .actions import Action, action_of
from .canonical import canonical
from .conversations import answers_of
from .errors import BadInput
from .lookup import by_ids
from .newest import newest
from .store import Store

CHUNK = 1_000
"""Answers that are read at a time."""


@dataclass(frozen=True)
class Step:
    """One call of a run and what it did."""

    call_id: str
    trajectory_id: str
    pattern_id: str
    label: str
    """The tools it called, sorted and joined by `+`; else `(text)`, `(refusal)` or `(invalid)`."""
    action: Action
    exact: str
    """The whole action as text: equal for equal names and arguments (or texts), whatever the order of the tools."""
    model: str
    route: str
    prompt_tokens: int
    completion_tokens: int
    counted: bool
    """The token counts are known."""


@dataclass(frozen=True)
class Run:
    """The newest steps of one agent run, oldest first."""

    trajectory_id: str
    steps: tuple[Step, ...]


_NEWEST = """
SELECT trajectory_id FROM calls
WHERE started_at >= greatest($since, $from) AND list_contains($patterns, pattern_id) AND trajectory_id IS NOT NULL
    AND response_id IS NOT NULL AND retried IS NOT TRUE
GROUP BY trajectory_id ORDER BY max(started_at) DESC, trajectory_id LIMIT $limit
"""
_CALLS = """
SELECT call_id, trajectory_id, pattern_id, model, route, prompt_tokens, completion_tokens FROM calls
WHERE list_contains($runs, trajectory_id) AND list_contains($patterns, pattern_id) AND response_id IS NOT NULL
    AND retried IS NOT TRUE AND started_at BETWEEN $first AND $last
ORDER BY min(started_at) OVER (PARTITION BY trajectory_id), trajectory_id, started_at, call_id
"""


def runs_of(store: Store, pattern_ids: Sequence[str], limit: int, since: float = 0.0) -> list[Run]:
    """The newest `limit` runs with calls of these patterns since a moment (Unix seconds), oldest first.

    A run's steps are those of its calls that belong to these patterns. A run that forked is walked in order of time.
    """
    params = {"patterns": list(pattern_ids), "limit": limit, "since": since}

    def ask(start: float) -> list[str]:
        return [name for (name,) in store.rows(_NEWEST, params | {"from": start})]

    names = newest(store, limit, ask, pattern_ids)
    spans = by_ids(store, "SELECT first_at, last_at FROM trajectories WHERE trajectory_id IN ({ids})", names)
    span = {
        "first": min((first for first, _ in spans), default=0.0),
        "last": max((last for _, last in spans), default=0.0),
    }
    rows = store.query(_CALLS, {"patterns": list(pattern_ids), "runs": list(names)} | span)
    runs: dict[str, list[Step]] = {}
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        answers = answers_of(store, [row["call_id"] for row in chunk])
        for row in chunk:
            if (answer := answers.get(row["call_id"])) is not None:
                runs.setdefault(row["trajectory_id"], []).append(_step(row, answer))
    return [Run(name, tuple(steps)) for name, steps in runs.items()]


def _step(row: dict[str, Any], answer: dict[str, Any]) -> Step:
    action = action_of(answer)
    counts = row["prompt_tokens"], row["completion_tokens"]
    return Step(
        row["call_id"],
        row["trajectory_id"],
        row["pattern_id"],
        label_of(action),
        action,
        exact_of(action),
        row["model"] or "",
        row["route"],
        counts[0] or 0,
        counts[1] or 0,
        None not in counts,
    )


def label_of(action: Action) -> str:
    """The typed action: which tools, or what kind of answer."""
    return "+".join(sorted(call.name for call in action.calls)) if action.kind == "tools" else f"({action.kind})"


def exact_of(action: Action) -> str:
    """The whole action as text; white space in texts does not matter."""
    if action.kind != "tools":
        return f"({action.kind}) {' '.join(action.text.split())}"
    return "\n".join(sorted(f"{call.name} {_text(call.arguments, call.raw)}" for call in action.calls))


def _text(arguments: Any, raw: str) -> str:
    if arguments is None:
        return raw
    try:
        return canonical(arguments).decode("utf-8", "surrogatepass")
    except (BadInput, RecursionError, ValueError):
        return raw or str(arguments)


def leaves_of(action: Action) -> Iterator[tuple[str, str, Any]]:
    """(tool, path, value) for each text, number, boolean and null in an action's arguments; list places are no path."""
    for call in action.calls:
        for path, value in _leaves(call.arguments or {}, ""):
            yield call.name, path, value


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    ahead = [(path, value)]
    while ahead:
        at, one = ahead.pop()
        if isinstance(one, dict):
            ahead += [(f"{at}.{name}", item) for name, item in one.items()]
        elif isinstance(one, list):
            ahead += [(f"{at}[]", item) for item in one]
        else:
            yield at, one
