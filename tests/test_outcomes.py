"""How runs end, as a table; and runs that ended on an action, once they have been silent for long enough."""

from pathlib import Path

import pytest

from tutelage.traffic.outcomes import Outcome, Turn, looks_like_error, outcome, settle_idle
from tutelage.traffic.store import Store

GOOD = Turn(1.0, 200, cancelled=False, answered=True, acts=False, finish_reason="stop", tool_error=False)


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (GOOD, Outcome(True, "heuristic", True)),
        (GOOD._replace(acts=True, finish_reason="tool_calls"), Outcome(None, "open", False)),
        (GOOD._replace(cancelled=True, answered=False), Outcome(False, "heuristic_cancelled", True)),
        (GOOD._replace(status=500, answered=False), Outcome(False, "heuristic_failed_call", True)),
        (GOOD._replace(status=0, answered=False), Outcome(False, "heuristic_failed_call", True)),
        (GOOD._replace(answered=False), Outcome(False, "heuristic_failed_call", True)),
        (GOOD._replace(finish_reason="length"), Outcome(False, "heuristic_length", True)),
        (GOOD._replace(finish_reason="length", acts=True), Outcome(False, "heuristic_length", True)),
        (GOOD._replace(finish_reason="content_filter"), Outcome(False, "heuristic_content_filter", True)),
        (GOOD._replace(tool_error=True), Outcome(False, "heuristic_tool_error", True)),
        (GOOD._replace(tool_error=True, acts=True), Outcome(None, "open", False)),
    ],
)
def test_the_newest_call_decides(turn: Turn, expected: Outcome) -> None:
    assert outcome([turn]) == expected
    earlier = GOOD._replace(started_at=0.5, status=500, answered=False)
    assert outcome([turn, earlier]) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Error: no such device", True),
        ("  exception in tool", True),
        ('{"error": "not found"}', True),
        ('{"error": null, "ok": 1}', False),
        ('{"is_error": true}', True),
        ("3 lights are on", False),
        ("The error was fixed", False),
        ("", False),
    ],
)
def test_results_that_report_a_failure(content: str, expected: bool) -> None:
    assert looks_like_error({"role": "tool", "content": content}) is expected
    assert looks_like_error({"role": "user", "content": content}) is False
    assert looks_like_error({"role": "tool", "content": [{"type": "text", "text": content}]}) is False


def add_run(store: Store, name: str, agent: str, turns: int, last_at: float, source: str = "open") -> None:
    store.execute(
        "INSERT INTO trajectories VALUES (?, FALSE, ?, '', '', 0, ?, ?, NULL, ?, FALSE)",
        [name, agent, last_at, turns, source],
    )
    for turn in range(turns):
        store.execute(
            "INSERT INTO calls (call_id, started_at, agent_id, trajectory_id, turn) VALUES (uuid(), ?, ?, ?, ?)",
            [last_at, agent, name, turn],
        )


def test_acting_is_the_end_for_agents_of_one_step_only(tmp_path: Path) -> None:
    with Store(tmp_path / "store.duckdb") as store:
        for number in range(5):
            add_run(store, f"one-{number}", "a_one", 1, last_at=100.0)
            add_run(store, f"many-{number}", "a_many", 1 + number % 2, last_at=100.0)
        add_run(store, "fresh", "a_one", 1, last_at=990.0)
        add_run(store, "told", "a_one", 1, last_at=100.0, source="feedback")
        assert settle_idle(store, now=1000.0, idle_s=60.0) == 10
        assert settle_idle(store, now=1000.0, idle_s=60.0) == 0
        rows = store.rows(
            "SELECT agent_id, success, success_source, finished, count(*) FROM trajectories GROUP BY ALL ORDER BY ALL"
        )
        assert rows == [
            ("a_many", None, "heuristic_abandoned", True, 5),
            ("a_one", True, "heuristic_open", True, 5),
            ("a_one", None, "feedback", False, 1),
            ("a_one", None, "open", False, 1),
        ]
