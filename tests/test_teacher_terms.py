"""Whose answers may be learnt from."""

import pytest

from tutelage.traffic.teacher_terms import TeacherTerms, terms_for

TEACHERS = (
    TeacherTerms("claude", ("claude-*",), "no"),
    TeacherTerms("open", ("qwen3", "claude-open"), "yes"),
    TeacherTerms("other", ("o?",)),
)


@pytest.mark.parametrize(
    ("model", "name", "distillable"),
    [
        ("claude-sonnet-4-5", "claude", "no"),
        ("claude-open", "claude", "no"),
        ("qwen3", "open", "yes"),
        ("qwen3-2026-05-01", "open", "yes"),
        ("qwen30", "default", "unknown"),
        ("o3", "other", "unknown"),
        ("", "default", "unknown"),
    ],
)
def test_the_strictest_of_those_that_fit(model: str, name: str, distillable: str) -> None:
    found = terms_for(model, TEACHERS, "unknown")
    assert (found.name, found.distillable) == (name, distillable)


def test_without_others_the_default_holds() -> None:
    assert terms_for("gpt-5", (), "no").distillable == "no"
