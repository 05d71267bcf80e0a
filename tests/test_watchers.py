"""Whoever watches is told, and cannot hurt."""

import logging
from typing import Any

import pyarrow as pa
import pytest

from tutelage.proxy.watchers import Watchers


class Notes:
    def __init__(self) -> None:
        self.said: list[Any] = []

    def calls(self, calls: pa.Table) -> None:
        self.said.append(calls.num_rows)

    def label(self, label: Any) -> None:
        self.said.append(label)


class Broken(Notes):
    def calls(self, calls: pa.Table) -> None:
        raise OSError("no room")


def test_one_that_fails_keeps_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    watchers, notes = Watchers(), Notes()
    watchers.add(Broken())
    watchers.add(notes)
    with caplog.at_level(logging.ERROR):
        watchers.calls(pa.table({"a": [1, 2]}))
    watchers.label("a label")  # pyright: ignore[reportArgumentType]
    assert notes.said == [2, "a label"]
    assert "lack what they were told" in caplog.text
