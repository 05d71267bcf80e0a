"""How the benchmarks of a voice assistant's students count, and what they keep."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from benchmarks.ha_student import Lesson, Told, Trial, answers, module_of, register, served_share
from tutelage.serving.engine import EngineError
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import ADAPTER_GGUF, PromptSpec, StudentRegister


def told(number: int, right: bool, score: float) -> Told:
    return Told(f"task{number}", right, "" if right else "wrong device", score, 0.1)


def test_a_threshold_serves_what_is_sure_and_is_measured_on_the_other_half() -> None:
    sure = [told(number, True, -0.01 - number / 1e6) for number in range(200)]
    unsure = [told(1000 + number, number % 2 == 0, -1.0 - number / 1e6) for number in range(200)]
    share, wrong = served_share([*sure, *unsure], 0.05)
    assert share == pytest.approx(0.5, abs=0.07)
    assert wrong <= 0.08
    assert served_share(unsure, 0.05)[0] < 0.1
    assert served_share(sure, 0.05) == (pytest.approx(1.0, abs=0.05), 0.0)


def test_errors_are_counted_by_reason() -> None:
    assert Trial(1, 1, 0.5, 0, 0, [], [told(1, True, -1), told(2, False, -1)]).errors == {"wrong device": 1}


def test_what_the_engine_refuses_is_wrong_and_says_why() -> None:
    class Refusing:
        def answer(self, request: dict[str, Any]) -> Any:
            if request["messages"][1]["content"] == "hm":
                raise EngineError("no answer")
            return SimpleNamespace(message={"tool_calls": [request["messages"][1]["content"]]}, score=-0.5)

    runs = [
        {"trajectory_id": said, "messages": [{}, {"content": said}, {}], "tools": [], "meta": {"home": "a"}}
        for said in ("hm", "right", "wrong")
    ]
    found = list(answers(cast(Any, Refusing()), runs, lambda item, calls: (calls == ["right"], "not it")))
    assert [(one.task, one.right, one.why) for one in found] == [
        ("hm", False, "refused: no answer"),
        ("right", True, "not it"),
        ("wrong", False, "not it"),
    ]


def test_a_kept_student_stands_in_the_register(tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "adapter").mkdir(parents=True)
    (made / "adapter" / "weights").write_bytes(b"w")
    (made / ADAPTER_GGUF).write_bytes(b"g")
    spec, parts = PromptSpec(skeleton=["You are a house."]), SimpleNamespace(name="base", digest="d")
    version = register(made, Lesson("ha", 1.0, 7, tmp_path / "data"), spec, cast(Any, parts))
    found = StudentRegister(DataDir(tmp_path / "data"))
    assert [one.version for one in found.list()] == [version]
    assert found.get(version).prompt == spec
    assert (found.path(version) / ADAPTER_GGUF).read_bytes() == b"g"
    assert (made / ADAPTER_GGUF).exists()


def test_a_missing_rule_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="give the folder of the recorded traffic as --data"):
        module_of(tmp_path / "judge.py")
