"""Which teacher answers for which model, and what is said about settings that cannot work."""

import timeit
from fnmatch import fnmatchcase
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.options import DataPlaneOptions, TeacherOptions
from tutelage.proxy.teachers import MISSING, Teacher, Teachers, merged_models, shown
from tutelage.traffic.errors import BadInput

URL = "http://teacher.test/v1"
CLAUDE = TeacherOptions("claude", ("claude-*", "*-sonnet"), "http://claude.test/v1/", "CLAUDE_KEY", "anthropic/c")
MINI = TeacherOptions("mini", ("gpt-5-mini", "claude-mini", "gpt-4*"), "https://mini.test/v1")


def build(*others: TeacherOptions, environ: dict[str, str] | None = None, **fields: Any) -> Teachers:
    options = DataPlaneOptions(**{"data": "d", "teacher_url": URL, "teachers": others, **fields})
    return Teachers.build(options, {"CLAUDE_KEY": "k"} if environ is None else environ)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("claude-3", "claude"),
        ("my-sonnet", "claude"),
        ("claude-mini", "mini"),  # an exact name beats a pattern that comes before it
        ("gpt-5-mini", "mini"),
        ("gpt-5-mini-2", "default"),
        ("gpt-4o", "mini"),
        ("Claude-3", "default"),
        ("", "default"),
    ],
)
def test_names_beat_patterns_and_the_first_pattern_wins(model: str, name: str) -> None:
    teachers = build(CLAUDE, MINI)
    assert teachers.of(model).name == name
    assert teachers.of(model) is teachers.of(model)


def test_a_teacher_as_it_is_used() -> None:
    teachers = build(
        CLAUDE, MINI, teacher_key_env="OWN", environ={"CLAUDE_KEY": " k \n", "OWN": "o"}, teacher_model="m"
    )
    assert [teacher.name for teacher in teachers.every()] == ["default", "claude", "mini"]
    assert teachers.of("x") == Teacher("default", URL, "o", "m")
    assert teachers.of("claude-3") == Teacher("claude", "http://claude.test/v1", "k", "anthropic/c", CLAUDE.models)
    assert teachers.of("gpt-4").key == ""


def test_keys_are_not_shown() -> None:
    assert "secret" not in repr(Teacher("a", "https://me:secret@a.test/v1", "secret-key"))
    assert shown("https://me:secret@a.test/v1") == "https://a.test/v1"
    assert shown(URL) == URL


@pytest.mark.parametrize(
    ("others", "fields", "words"),
    [
        ((CLAUDE,), {"environ": {}}, "CLAUDE_KEY, which is not set"),
        ((), {"teacher_key_env": "NOWHERE"}, "NOWHERE, which is not set"),
        ((CLAUDE,), {"environ": {"CLAUDE_KEY": "schlüssel"}}, "characters that no header can"),
        ((MINI, MINI), {}, "Two teachers are called 'mini'"),
        ((TeacherOptions("a", ("x",), "teacher.test/v1"),), {}, "http:// or https://"),
        ((TeacherOptions("a", ("x",), "ftp://teacher.test/v1"),), {}, "http:// or https://"),
        ((TeacherOptions("a", ("x",), "http:///v1"),), {}, "http:// or https://"),
        ((TeacherOptions("a", ("x",), "http://a.test:port/v1"),), {}, "http:// or https://"),
        ((TeacherOptions("a", ("x",), "http://a.test/v1?version=1"),), {}, "query"),
        ((), {"teacher_url": "litellm"}, "teacher 'default'"),
        ((TeacherOptions("a", (), URL),), {}, "answers for no model"),
        ((TeacherOptions("a", ("x", ""), URL),), {}, "answers for no model"),
        ((TeacherOptions("default", ("x",), URL),), {}, "the proxy uses that name"),
        ((TeacherOptions("student", ("x",), URL),), {}, "the proxy uses that name"),
        ((TeacherOptions("a b", ("x",), URL),), {}, "letters, digits"),
        ((TeacherOptions("a", ("x",), URL), TeacherOptions("b", ("x",), URL)), {}, "both answer for 'x'"),
    ],
)
def test_settings_that_cannot_work_are_named(others: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        build(*others, **fields)


def test_an_error_shows_no_password() -> None:
    with pytest.raises(BadInput) as error:
        build(teacher_url="htp://me:hunter2@a.test/v1")
    assert "hunter2" not in str(error.value)


def test_audits_may_lack_a_key() -> None:
    options = DataPlaneOptions("d", URL, teacher_key_env="NOWHERE", teachers=(CLAUDE,))
    teachers = Teachers.build(options, {}, need_keys=False)
    assert [teacher.key for teacher in teachers.every()] == ["", ""]


@given(st.lists(st.text(max_size=300), max_size=60))
def test_remembering_changes_no_answer(models: list[str]) -> None:
    teachers = build(CLAUDE, MINI)
    for model in [*models, *models]:
        exact = model in ("gpt-5-mini", "claude-mini")
        fitting = [t.name for t in (CLAUDE, MINI) if any(fnmatchcase(model, pattern) for pattern in t.models)]
        assert teachers.of(model).name == ("mini" if exact else [*fitting, "default"][0])


def test_the_memory_is_bounded() -> None:
    teachers = build(CLAUDE, MINI)
    for number in range(20_000):
        teachers.of(f"made-up-{number}")
    teachers.of("x" * 100_000)
    assert len(teachers._known) < 5000
    assert "x" * 100_000 not in teachers._known
    assert teachers.of("gpt-5-mini").name == "mini"


def test_asking_again_costs_next_to_nothing() -> None:
    teachers = build(CLAUDE, MINI)
    # Measured 0.1 µs; the bound leaves room for a busy machine.
    assert min(timeit.repeat(lambda: teachers.of("claude-3"), number=1000, repeat=5)) < 0.01


def listed(*ids: str, **extra: Any) -> bytes:
    return msgspec.json.encode({"object": "list", "data": [{"id": id_, "object": "model", **extra} for id_ in ids]})


def test_model_lists_are_merged_in_order_and_the_first_wins() -> None:
    merged = msgspec.json.decode(
        merged_models({"a": listed("x", "y", owned_by="a"), "b": listed("y", "z", owned_by="b")})
    )
    assert [(model["id"], model["owned_by"]) for model in merged["data"]] == [("x", "a"), ("y", "a"), ("z", "b")]
    assert merged["object"] == "list"
    assert MISSING not in merged


def test_model_entries_keep_their_bytes() -> None:
    entry = b'{ "id":"x", "created" : 1.50, "odd": "\\u00e9" }'
    assert entry in merged_models({"a": b'{"data":[' + entry + b"]}"})


@pytest.mark.parametrize(
    "broken", [b"", b"<html>", b"[]", b'{"data":{}}', b'{"data":[{"name":"x"}]}', b'{"data":[7]}', b"\xff"]
)
def test_a_broken_list_is_named_and_the_others_stay(broken: bytes) -> None:
    merged = msgspec.json.decode(merged_models({"a": listed("x"), "b": broken, "c": listed("z")}))
    assert [model["id"] for model in merged["data"]] == ["x", "z"]
    assert merged[MISSING] == ["b"]


@given(st.dictionaries(st.sampled_from("abcd"), st.binary(max_size=40), max_size=4))
def test_no_answer_breaks_the_merge(answers: dict[str, bytes]) -> None:
    merged = msgspec.json.decode(merged_models(answers))
    assert set(merged.get(MISSING, [])) <= set(answers)
