"""Sessions set apart are written beside the data set."""

import gzip
import json
from pathlib import Path

from tutelage.distill.contrast import FILE, write_contrast
from tutelage.distill.curate import CallRef, Contrast, Trajectory


def test_one_session_a_line(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "é"}, {"role": "assistant", "content": "no"}]
    item = Trajectory("t", "s", "a", False, "verifier:x", [], messages, (CallRef("k", 1, "p", "teacher", "m", 0.0),))
    assert write_contrast(tmp_path, [Contrast(item, "failed")]) == 1
    (line,) = gzip.decompress((tmp_path / FILE).read_bytes()).decode().splitlines()
    assert json.loads(line) == {
        "trajectory_id": "t",
        "reason": "failed",
        "success": False,
        "success_source": "verifier:x",
        "messages": messages,
        "answers": [1],
    }
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_no_file_without_any(tmp_path: Path) -> None:
    assert write_contrast(tmp_path, []) == 0
    assert list(tmp_path.iterdir()) == []
