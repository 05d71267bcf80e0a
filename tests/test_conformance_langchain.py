"""LangChain's suite for chat models, run with `ChatOpenAI` at the teacher itself and through the proxy."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conformance.plane import PROXIES, Plane, answer_in, developed

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
SUITE = HERE / "conformance" / "langchain_suite.py"
CANNOT_APPLY = {
    # Replays a conversation recorded with a provider; there is none with a teacher that lives in the test.
    "TestChatCompletions::test_stream_time",
    "TestResponses::test_stream_time",
}
Outcomes = dict[str, str]


def outcomes(base_url: str, report: Path) -> Outcomes:
    """By test: `passed`, or what happened instead."""
    folder = developed("langchain-tests")
    if folder is None:
        pytest.skip("LangChain's suite is missing: `make dev` installs it into .dev/langchain-tests")
    environment = {name: value for name, value in os.environ.items() if name.lower() not in PROXIES}
    environment |= {"CONFORMANCE_URL": base_url, "PYTHONPATH": f"{HERE}{os.pathsep}{folder}"}
    environment |= {"LANGSMITH_TRACING": "false", "PYTEST_ADDOPTS": ""}
    home = str(SUITE.parent)
    options = ["-c", f"{home}/langchain.ini", "--rootdir", home, "--confcutdir", home]
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", *options, f"--junitxml={report}", str(SUITE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert report.is_file(), done.stdout + done.stderr
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        problem = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
        told = "passed" if problem is None else f"{problem.tag}: {problem.get('message')}\n{problem.text}"
        found[f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"] = told
    return found


@pytest.fixture(scope="module")
def both(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcomes, Outcomes]:
    """With the teacher itself, and through the proxy."""
    folder = tmp_path_factory.mktemp("langchain")
    return outcomes(plane.teacher.url, folder / "direct.xml"), outcomes(plane.url, folder / "proxied.xml")


def test_every_test_of_the_suite_passes_through_the_proxy(both: tuple[Outcomes, Outcomes]) -> None:
    direct, proxied = both
    for found in (direct, proxied):
        other = {name: told for name, told in found.items() if told != "passed"}
        assert set(other) == CANNOT_APPLY, other
    assert set(proxied) == set(direct)
    assert len(proxied) == 104


def test_the_log_holds_what_the_suite_said(plane: Plane, both: tuple[Outcomes, Outcomes]) -> None:
    assert both[1]
    records = plane.records()
    assert len(records) >= 150
    assert len({record.call_id for record in records}) == len(records)
    answers = [answer_in(record) for record in records]
    assert [answer.error for answer in answers] == [""] * len(answers)
    assert all(answer.whole and answer.prompt_tokens for answer in answers)
    names = {call["function"]["name"] for answer in answers for call in (answer.said() or {}).get("tool_calls") or ()}
    assert names >= {"magic_function", "magic_function_no_args", "get_weather", "unicode_customer", "weather"}
