import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.proxy.recorded import read_all, read_recorded
from tutelage.traffic.errors import BadInput

RUN: dict[str, Any] = {
    "trajectory_id": "r1",
    "teacher": "m",
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
    ],
    "calls": [{"i": 1, "usage": [5, 2], "created": 1.5}, {"i": 3}],
    "labels": {"unknown": "fields are ignored"},
}


def write(path: Path, *runs: Any) -> Path:
    text = "\n".join(run if isinstance(run, str) else json.dumps(run) for run in runs) + "\n\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["runs.jsonl", "runs.jsonl.gz"])
def test_runs_are_read_and_unrolled(tmp_path: Path, name: str) -> None:
    (run,) = read_recorded(write(tmp_path / name, RUN))
    first, second = run.calls
    assert first.usage == (5, 2)
    assert run.request(first) == {"model": "m", "messages": RUN["messages"][:1], "tools": RUN["tools"]}
    assert run.request(second)["messages"] == RUN["messages"][:3]
    assert run.answer(second) == RUN["messages"][3]


def test_no_tools_are_no_field(tmp_path: Path) -> None:
    (run,) = read_recorded(write(tmp_path / "r", {**RUN, "tools": []}))
    assert "tools" not in run.request(run.calls[0])


def test_several_files_and_a_limit(tmp_path: Path) -> None:
    files = [write(tmp_path / str(n), RUN, RUN) for n in range(2)]
    assert len(read_all(files)) == 4
    assert len(read_all(files, 3)) == 3


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{oops", "line 2"),
        ({"trajectory_id": "x"}, "line 2.*messages"),
        ({**RUN, "calls": [{"i": 0}]}, "message 0, which is no assistant"),
        ({**RUN, "calls": [{"i": 9}]}, "message 9"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, line: Any, expected: str) -> None:
    with pytest.raises(BadInput, match=expected):
        read_all([write(tmp_path / "r", RUN, line)])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"no gzip")
    (tmp_path / "b.gz").write_bytes(gzip.compress(json.dumps(RUN).encode())[:-20])
    for name in ("missing", "a.gz", "b.gz"):
        with pytest.raises(BadInput, match=name):
            read_all([tmp_path / name])
