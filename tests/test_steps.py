"""Calls as typed steps of runs."""

from pathlib import Path
from typing import Any

from tutelage.traffic.actions import Action, ToolCall, action_of
from tutelage.traffic.discovery import Discovery
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.patterns import Registry
from tutelage.traffic.records import encode
from tutelage.traffic.steps import exact_of, label_of, leaves_of, runs_of
from tutelage.traffic.store import Store


def tools(*calls: tuple[str, dict[str, Any]]) -> Action:
    return Action("tools", tuple(ToolCall(name, arguments) for name, arguments in calls))


def test_labels_are_typed_and_do_not_depend_on_the_order_of_tools() -> None:
    assert label_of(tools(("b", {}), ("a", {}), ("b", {"x": 1}))) == "a+b+b"
    assert label_of(Action("text", (), "Hi")) == "(text)"
    assert label_of(action_of({"role": "assistant", "content": ""})) == "(invalid)"


def test_the_whole_action_is_equal_for_equal_meaning() -> None:
    assert exact_of(tools(("a", {"x": 1, "y": 2}), ("b", {}))) == exact_of(tools(("b", {}), ("a", {"y": 2, "x": 1})))
    assert exact_of(tools(("a", {"x": 1}))) != exact_of(tools(("a", {"x": 2})))
    assert exact_of(Action("text", (), "Well  done.\n")) == exact_of(Action("text", (), "Well done."))
    broken = Action("tools", (ToolCall("a", None, "{oops"),))
    assert exact_of(broken) == "a {oops"


def test_leaves_have_their_path() -> None:
    action = tools(("a", {"x": {"y": [1, {"z": None}]}, "w": "v"}))
    assert set(leaves_of(action)) == {("a", ".x.y[]", 1), ("a", ".x.y[].z", None), ("a", ".w", "v")}
    assert list(leaves_of(Action("tools", (ToolCall("a", None, "{"),)))) == []


def test_runs_are_read_back_in_order(tmp_path: Path, make_call: Any) -> None:
    with Store(tmp_path / "s.duckdb") as store:
        ingest = Ingest(store, Discovery(Registry()))
        records = []
        for run in range(3):
            said: list[dict[str, Any]] = [{"role": "user", "content": f"start {run}"}]
            for turn in range(2):
                answer = {"role": "assistant", "content": f"answer {run} {turn}"}
                records.append(make_call(said, answer, started_at=100.0 * run + turn, hint="h", route="teacher"))
                said = [*said, answer, {"role": "user", "content": f"next {turn}"}]
        records.append(make_call([{"role": "user", "content": "lost"}], None, started_at=900.0, hint="h", status=500))
        ingest.apply([encode(record) for record in records], {})
        (pattern,) = {row[0] for row in store.rows("SELECT pattern_id FROM calls WHERE status = 200")}
        runs = runs_of(store, [pattern], 10)
        assert [[step.exact for step in run.steps] for run in runs] == [
            [f"(text) answer {run} {turn}" for turn in range(2)] for run in range(3)
        ]
        assert [step.call_id for step in runs[0].steps] == [record.call_id for record in records[:2]]
        assert (runs[0].steps[0].prompt_tokens, runs[0].steps[0].counted) == (100, True)
        assert [run.trajectory_id for run in runs_of(store, [pattern], 2)] == [run.trajectory_id for run in runs[1:]]
        late = runs_of(store, [pattern], 9, since=200.5)
        assert [[step.exact for step in run.steps] for run in late] == [["(text) answer 2 0", "(text) answer 2 1"]]
        assert runs_of(store, ["p_none"], 9) == []
