"""A child goes when its parent is killed."""

import subprocess
import sys

import psutil
import pytest

CHILD = (
    "from tutelage.proxy.parents import end_with_parent; import time; end_with_parent(); print('up'); time.sleep(60)"
)
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-uc', {CHILD!r}])"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_killed_parent_takes_its_child_along() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        (child,) = psutil.Process(parent.pid).children()
        parent.kill()
        child.wait(10)
    assert not child.is_running()
