"""How an agent's run ended, judged from its calls alone. A label that somebody gave wins over these guesses."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from .store import Store


class Turn(NamedTuple):
    """What decides on how a run ended, of one of its calls."""

    started_at: float
    status: int
    cancelled: bool
    answered: bool
    acts: bool
    """The answer calls tools."""
    finish_reason: str
    tool_error: bool
    """The last message of the request is a tool's result that reports an error."""


class Outcome(NamedTuple):
    """How a run ended, as far as its calls tell."""

    success: bool | None
    source: str
    finished: bool


OPEN = Outcome(None, "open", False)


def outcome(calls: Sequence[Turn]) -> Outcome:
    """Judge a run by its newest call: what failed earlier and was repeated is no failure of the run.

    A call that acts leaves the run open, for its tool's result may follow; `settle_idle` closes it later.
    """
    last = max(calls, key=lambda turn: turn.started_at)
    if last.cancelled:
        return Outcome(False, "heuristic_cancelled", True)
    if last.status >= 400 or last.status == 0 or not last.answered:
        return Outcome(False, "heuristic_failed_call", True)
    if last.finish_reason in ("length", "content_filter"):
        return Outcome(False, f"heuristic_{last.finish_reason}", True)
    if last.acts:
        return OPEN
    if last.tool_error:
        return Outcome(False, "heuristic_tool_error", True)
    return Outcome(True, "heuristic", True)


def looks_like_error(message: dict[str, Any]) -> bool:
    """Whether a tool's result reports a failure: it starts with the word, or is an object with an `error`."""
    content = message.get("content")
    return message.get("role") == "tool" and isinstance(content, str) and begins_like_error(content)


def begins_like_error(content: str) -> bool:
    """The same for the text of a tool's result."""
    head = content[:200].lstrip().lower()
    if head.startswith(("error", "exception", "traceback", "failed:", "failure:")):
        return True
    return head.startswith("{") and (('"error":' in head and '"error": null' not in head) or '"is_error": true' in head)


_SETTLE = """
UPDATE trajectories SET finished = TRUE, success = CASE WHEN single THEN TRUE END,
    success_source = CASE WHEN single THEN 'heuristic_open' ELSE 'heuristic_abandoned' END
FROM (
    SELECT agent_id AS agent, avg(CASE WHEN turns > 0 THEN 1.0 ELSE 0.0 END) < 0.05 AS single
    FROM (
        SELECT agent_id, max(turn) AS turns FROM calls WHERE trajectory_id IS NOT NULL GROUP BY agent_id, trajectory_id
    )
    GROUP BY agent_id
) AS agents
WHERE agents.agent IS NOT DISTINCT FROM trajectories.agent_id AND success_source = 'open' AND last_at < ?
"""


def settle_idle(store: Store, now: float, idle_s: float) -> int:
    """Close the runs that ended on an action and have been silent for `idle_s` seconds; returns their number.

    For agents whose runs are one call (fewer than 5 % have a second turn) acting is the end: success. For others
    nobody knows: no label.
    """
    return store.execute(_SETTLE, [now - idle_s])
