"""Logs as lines and as objects, and nothing in them that is not for everybody's eyes."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.traffic import logs


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """The root logger as it was before."""
    logger = logging.getLogger()
    before = list(logger.handlers), logger.level
    yield
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    for handler in before[0]:
        logger.addHandler(handler)
    logger.setLevel(before[1])


def said(monkeypatch: pytest.MonkeyPatch, form: str, level: str = "", least: str = "debug") -> str:
    monkeypatch.setenv(logs.FORMAT_ENV, form)
    monkeypatch.setenv(logs.LEVEL_ENV, level)
    stream = io.StringIO()
    logs.configure(stream, least)
    logger = logging.getLogger("tutelage.test")
    logger.info("moved %d calls of %s", 3, "Grüße")
    try:
        raise ValueError("key sk-abcdefghij0123 was refused")
    except ValueError:
        logger.exception("it failed with Bearer abcdef")
    logging.getLogger("httpx").info("GET http://teacher.test/?key=1")
    return stream.getvalue()


def test_objects_one_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = [json.loads(line) for line in said(monkeypatch, "json").splitlines()]
    assert first["message"] == "moved 3 calls of Grüße"
    assert (first["level"], first["logger"]) == ("info", "tutelage.test")
    assert first["time"].endswith("Z")
    assert "ValueError: key … was refused" in second["error"]
    assert second["message"] == "it failed with Bearer …"


def test_lines_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(monkeypatch, "console")
    assert "INFO tutelage.test: moved 3 calls" in text
    assert "Traceback" in text
    assert "abcdef" not in text


def test_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "moved" not in said(monkeypatch, "console", "error")
    assert "moved" not in said(monkeypatch, "console", "debug", least="warning")
    assert "moved" in said(monkeypatch, "odd", "odd")


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("Authorization: Bearer abc.def-1", "abc"),
        ('{"api_key": "k-123456"}', "k-123456"),
        ("api-key=verysecret&x=1", "verysecret"),
        ("token: tok123", "tok123"),
        ("sk-proj-AbCdEf123456", "AbCdEf"),
        ("sk-tu-0123456789ab", "0123456789ab"),
        ("postgres://me:hunter2@db/x", "hunter2"),
        ("https://hooks.slack.com/services/T1/B2/xyz", "T1/B2"),
        ("xoxb-1234567890-abc", "1234567890"),
    ],
)
def test_what_looks_like_a_key_is_masked(text: str, hidden: str) -> None:
    found = logs.masked(f"before {text} after")
    assert hidden not in found
    assert found.startswith("before ")


@given(st.text())
def test_any_text_can_be_masked_and_twice_is_as_once(text: str) -> None:
    assert logs.masked(logs.masked(text)) == logs.masked(text)


def test_plain_words_stay() -> None:
    text = "Worker 12 ended with code -9 and is replaced; 3 tokens, http://127.0.0.1:8401/metrics"
    assert logs.masked(text) == text
