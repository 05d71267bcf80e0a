"""Whether a run lives, and whether it was killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.traffic.run_lock import LOCK, alive, is_alive, was_killed

HOLD = """
import sys
from pathlib import Path
from tutelage.traffic.run_lock import alive
with alive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_is_alive_as_long_as_its_process(tmp_path: Path) -> None:
    assert not is_alive(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=-1, stdout=-1, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_alive(tmp_path)
        assert not was_killed(tmp_path)
        process.kill()
    assert (tmp_path / LOCK).exists()
    assert not is_alive(tmp_path)
    assert was_killed(tmp_path)


def test_the_lock_goes_with_the_run_however_it_ends(tmp_path: Path) -> None:
    seen = []

    def stopped() -> None:
        with alive(tmp_path):
            seen.append(is_alive(tmp_path))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert seen == [True]
    assert not (tmp_path / LOCK).exists()
