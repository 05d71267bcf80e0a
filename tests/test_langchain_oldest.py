"""The plugin with the oldest versions of LangChain and LangGraph that it supports: the same tests, in their process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conformance.plane import developed

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
FILES = ("test_langchain.py", "test_langchain_middleware.py", "test_langchain_records.py")


def test_the_plugin_s_tests_pass_with_version_1_0() -> None:
    folder = developed("langchain-1.0")
    if folder is None:
        pytest.skip("LangChain 1.0 is missing: `make dev` installs it into .dev/langchain-1.0")
    # Versions of that time warn about themselves.
    command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore::DeprecationWarning", *FILES]
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTEST_ADDOPTS": ""}
    seen = "import langchain, langgraph.version as v; print(langchain.__version__, v.__version__)"
    shown = subprocess.run([sys.executable, "-c", seen], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["1.0.0", "1.0.0"]
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) >= 35
