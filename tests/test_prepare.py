"""Choosing and cleaning the sessions of an export, on small tables of sessions."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tutelage.distill.curate import CallRef, Contrast, Curated, Export, Trajectory
from tutelage.distill.detect import Detector
from tutelage.distill.findings import Finding
from tutelage.distill.leaks import PersonalDataLeft
from tutelage.distill.options import DistillOptions
from tutelage.distill.prepare import choose, clean, unknown_terms
from tutelage.distill.progress import silent
from tutelage.traffic.errors import BadInput
from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import PromptSpec
from tutelage.traffic.teacher_terms import TeacherTerms


def mails(text: str) -> Iterable[Finding]:
    return [Finding("EMAIL_ADDRESS", m.start(), m.end(), 1.0) for m in re.finditer(r"\S+@\S+\.test", text)]


def session(number: int, text: str = "", **fields: Any) -> Trajectory:
    messages = [{"role": "user", "content": text or f"task {number}"}, {"role": "assistant", "content": "done"}]
    call = CallRef(f"c{number}", 1, "p", "teacher", "m", float(number))
    values: dict[str, Any] = {"success": True, "session": f"s{number}"} | fields
    return Trajectory(
        trajectory_id=f"t{number}",
        agent_id="a",
        success_source="rule",
        messages=messages,
        calls=(call,),
        tools=[],
        **values,
    )


def export(sessions: list[Trajectory]) -> Export:
    return Export("a", "Desk", ["p"], [], [], sessions, 0.0, "d")


def test_both_sides_are_filled(tmp_path: Path) -> None:
    options = DistillOptions(data=str(tmp_path), held_out=0.3)
    chosen = choose(options, export([session(number) for number in range(60)]), PromptSpec())
    assert len(chosen.train) + len(chosen.held_out) == 60
    assert chosen.held_out


def test_too_few_sessions_say_what_was_left_out(tmp_path: Path) -> None:
    sessions = [session(number, success=number % 2 == 0) for number in range(40)]
    with pytest.raises(BadInput, match=r"at least 30 successful sessions of Desk.*20 not_successful"):
        choose(DistillOptions(data=str(tmp_path)), export(sessions), PromptSpec())


def test_both_sides_are_scrubbed_and_counted(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    chosen = Curated([session(1, "I am a@b.test")], [session(2, "I am c@d.test")], {})
    cleaned = clean(chosen, (Detector([mails]), False), data, silent)
    assert "a@b.test" not in str(cleaned.chosen.train)
    assert "c@d.test" not in str(cleaned.chosen.held_out)
    assert cleaned.counts == {"EMAIL_ADDRESS": 2}
    assert "Names" in cleaned.notes[0]
    assert cleaned.fields == {"EMAIL_ADDRESS": {"text": 2}}
    assert clean(chosen, (Detector([mails]), True), data, silent).notes == []


class Late(Detector):
    """Misses on the first look what it finds on the second."""

    def __init__(self) -> None:
        super().__init__([])
        self._looks = 0

    def find(self, text: str, field_name: str = "") -> list[Finding]:
        self._looks += "a@b.test" in text
        return list(mails(text)) if self._looks > 1 else []


def test_what_is_left_blocks(tmp_path: Path) -> None:
    with pytest.raises(PersonalDataLeft, match="t1"):
        clean(Curated([session(1, "a@b.test")], [], {}), (Late(), True), DataDir(tmp_path).prepare(), silent)


def test_the_terms_of_teachers(tmp_path: Path) -> None:
    closed = TeacherTerms("closed", ("m",), "no")
    options = DistillOptions(data=str(tmp_path), held_out=0.3, teachers=(closed,))
    with pytest.raises(BadInput, match="do not allow training on their answers"):
        choose(options, export([session(number) for number in range(60)]), PromptSpec())
    assert "(default)" in unknown_terms(DistillOptions(data="d"), [session(1)])
    assert unknown_terms(DistillOptions(data="d", teacher_distillable="yes"), [session(1)]) == ""


def test_what_is_set_apart_is_scrubbed_and_never_blocks(tmp_path: Path) -> None:
    data = DataDir(tmp_path).prepare()
    apart = [Contrast(session(2, "I am c@d.test"), "failed")]
    cleaned = clean(Curated([session(1)], [], {}, apart), (Detector([mails]), True), data, silent)
    assert "c@d.test" not in str(cleaned.chosen.contrast)
    assert cleaned.counts == {}
    blocked = clean(
        Curated([session(1)], [], {}, [Contrast(session(3, "a@b.test"), "failed")]), (Late(), True), data, silent
    )
    assert blocked.chosen.contrast == []
