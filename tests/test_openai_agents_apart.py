"""The plugin with the real OpenAI Agents SDK, in a process that has it."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conformance.plane import developed

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


def test_the_plugin_s_tests_pass() -> None:
    folder = developed("openai-agents")
    if folder is None or find_spec("agents"):
        pytest.skip(
            "The OpenAI Agents SDK is missing (`make dev` installs it into .dev/openai-agents), or here anyway."
        )
    command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore::DeprecationWarning", "test_openai_agents.py"]
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) >= 12


def test_without_the_sdk_the_line_to_run_is_named() -> None:
    code = "import sys; sys.modules['agents'] = None; import tutelage.plugins.openai_agents"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "pip install 'tutelage[openai-agents]'" in ran.stderr
