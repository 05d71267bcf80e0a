"""Every small example runs, in one proxy that they share, and shows what its first comment promises."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tutelage.examples import (
    feedback_and_verifiers,
    import_old_logs,
    langchain_agent,
    langgraph_multi_agent,
    openai_sdk,
    tool_less_tiny_model,
    train_on_gpu,
)
from tutelage.examples.place import Place, opened

EXAMPLES = Path(__file__).parent.parent / "examples"
SHARED = ("demo.py", "demo_world.py", "story.py", "__init__.py")


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("OPENAI_API_KEY", raising=False)
        with opened(feedback_and_verifiers.SETTINGS) as found:
            yield found


def test_openai_sdk(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    openai_sdk.main(place)
    assert capsys.readouterr().out.splitlines() == [
        "teacher answered: I can only help with parcels.",
        "teacher streamed: I can only help with parcels.",
        "The agent says: Parcel PA-12345 now comes on Friday.",
        "Its run has 2 calls and 5 messages in the log.",
    ]


def test_langchain_agent(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    langchain_agent.main(place)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("langchain-1: Parcel PA-12345 is ")
    assert lines[1] == "langchain-2: the tool failed, the depot does not answer"
    assert lines[2] == "langchain-1: 2 calls, success True, as plugin:langchain says"
    assert lines[3] == "langchain-2: 1 calls, success False, as plugin:langchain says"


def test_langgraph_multi_agent(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    langgraph_multi_agent.main(place)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "The customer reads: Parcel PA-12345 now comes on Friday."
    assert lines[1] == "The front desk's run of 2 calls started one of 2 calls."
    assert sum(line.startswith("Pattern of the front desk:") for line in lines) == 2
    assert sum(line.startswith("Pattern of the tracker:") for line in lines) >= 2


def test_feedback_and_verifiers(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    feedback_and_verifiers.main(place)
    lines = capsys.readouterr().out.splitlines()
    assert lines[3:] == [
        f"feedback-1: success True, as {feedback_and_verifiers.VERIFIER} says",
        "feedback-2: success False, as feedback:shop says",
        "feedback-3: success True, as heuristic says",
    ]


def test_import_old_logs(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    import_old_logs.main(place)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "The first import of 40 lines: 80 calls, 80 of them new",
        "The second import of 40 lines: 80 calls, 0 of them new",
    ]
    assert sum(line.endswith(": 40 calls") for line in lines) == 2


def test_tool_less_tiny_model(capsys: pytest.CaptureFixture[str]) -> None:
    with tool_less_tiny_model.served(tool_less_tiny_model.BASE) as url:
        tool_less_tiny_model.main(url)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "ai: track_parcel({'parcel': 'PA-12345'})"
    assert lines[2].startswith('tool: {"status": ')


def test_train_on_gpu(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_on_gpu.main(place, tmp_path)
    exported, settings, *commands = capsys.readouterr().out.splitlines()
    assert {"calls", "messages", "trajectories"} <= set(exported.removeprefix("Exported: ").split(", "))
    assert settings == "Settings: engine, engine_url, engine_students"
    assert any("python -m tutelage.distill" in line for line in commands)
    assert (tmp_path / "export" / "calls.parquet").is_file()


def test_an_example_as_its_reader_starts_it_with_a_provider_of_their_own(place: Place) -> None:
    provider = {
        "OPENAI_API_KEY": "sk-theirs",
        "OPENAI_BASE_URL": f"{place.world.teacher}/v1",
        "OPENAI_MODEL": "desk-large",
    }
    command = [sys.executable, "-m", "tutelage.examples.openai_sdk"]
    place.world.change_teacher(plain_numbers=True)  # which the scripted teacher of an example's own would not do
    try:
        done = subprocess.run(
            command, env={**os.environ, **provider}, capture_output=True, text=True, timeout=180, check=False
        )
    finally:
        place.world.change_teacher(plain_numbers=False)
    assert done.returncode == 0, done.stderr
    assert "The agent says: Parcel PA12345 now comes on Friday." in done.stdout


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.name)
def test_an_example_is_short_says_what_is_seen_and_is_listed(file: Path) -> None:
    if file.name in SHARED:
        return
    text = file.read_text()
    assert text.count("\n") < 80
    if file.name != "place.py":
        assert f"python -m tutelage.examples.{file.stem}" in text.split('"""')[1]
        assert "You see" in text.split('"""')[1]
    assert f"({file.name})" in (EXAMPLES / "README.md").read_text()


def test_links_of_the_list_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", (EXAMPLES / "README.md").read_text())
    assert [link for link in links if not (EXAMPLES / link).exists()] == []
