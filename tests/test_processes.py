"""What `serve` would run, and what it says; the processes themselves are tried in tests/test_story.py."""

import json
from pathlib import Path

import msgspec
import pytest

from tutelage import config, processes
from tutelage.autopilot import Pilot
from tutelage.plugins.litellm_options import BRIDGE_KEY_ENV
from tutelage.proxy.options import ENVIRONMENT
from tutelage.traffic.errors import BadInput, DataFolderError, MissingExtra
from tutelage.traffic.students import ADAPTER, Manifest, PromptSpec, StudentRegister


def chosen(tmp_path: Path, text: str = "") -> config.Config:
    file = tmp_path / "tutelage.toml"
    file.write_text(f'teacher = "http://teacher.test/v1"\ndata = "data"\n{text}')
    return config.load(file)


def test_three_parts_with_their_options(tmp_path: Path) -> None:
    supervisor = processes.supervisor(chosen(tmp_path, "port = 9400\ncontrol_port = 9401"), print)
    assert [part.name for part in supervisor.parts] == ["control plane", "data plane", "student server"]
    assert supervisor.stop_order == ("autopilot", "data plane", "control plane", "teacher bridge", "student server")
    plane = json.loads(supervisor.parts[1].environment[ENVIRONMENT])
    assert (plane["teacher_url"], plane["port"]) == ("http://teacher.test/v1", 9400)
    assert supervisor.parts[1].ready_url == "http://127.0.0.1:9400/tutelage/health"
    assert supervisor.addresses["control_url"] == "http://127.0.0.1:9401"


def test_with_autopilot_a_process_trains_by_itself(tmp_path: Path) -> None:
    config = chosen(tmp_path, "autopilot = true\n[schedule]\nnew_sessions = 50\n[distill]\nepochs = 1")
    supervisor = processes.supervisor(config, print, lambda package: True)
    (part,) = [part for part in supervisor.parts if part.name == processes.AUTOPILOT]
    assert part.optional
    pilot = msgspec.json.decode(part.environment["TUTELAGE_OPTIONS"], type=Pilot)
    assert (pilot.schedule.new_sessions, pilot.distill.epochs) == (50, 1.0)
    with pytest.raises(MissingExtra, match=r"tutelage\[distill\]"):
        processes.supervisor(config, print, lambda package: package != "trl")
    with pytest.raises(BadInput, match="22:00-06:00"):
        processes.supervisor(chosen(tmp_path, "autopilot = true\n[schedule]\nwindows = ['night']"), print)


def test_the_student_server_is_wanted_once_there_is_a_candidate(tmp_path: Path) -> None:
    settings = chosen(tmp_path)
    supervisor = processes.supervisor(settings, print)
    student = supervisor.parts[2]
    assert not student.wanted()
    for number, status in enumerate(["rejected", "candidate"]):
        draft = tmp_path / status
        (draft / ADAPTER).mkdir(parents=True)
        manifest = Manifest(
            version=f"desk@{number}",
            name="desk",
            status=status,
            created_at=1.0,
            agent_id="a",
            pattern_ids=[],
            base="b",
            base_digest="d",
            prompt=PromptSpec(),
            snapshot_at=0.0,
            data_digest="d",
        )
        StudentRegister(settings.data).publish(draft, manifest)
        assert student.wanted() is (status == "candidate")


def test_a_student_server_elsewhere_is_not_started(tmp_path: Path) -> None:
    settings = chosen(tmp_path, 'student_url = "http://gpu.test:8000/v1"')
    supervisor = processes.supervisor(settings, print)
    assert [part.name for part in supervisor.parts] == ["control plane", "data plane"]
    assert json.loads(supervisor.parts[0].environment[ENVIRONMENT])["student_url"] == "http://gpu.test:8000/v1"
    assert "runs elsewhere" in processes.screen(settings, supervisor)


def test_the_screen_says_what_to_point_agents_at(tmp_path: Path) -> None:
    settings = chosen(tmp_path)
    text = processes.screen(settings, processes.supervisor(settings, print))
    for words in (
        "http://127.0.0.1:8400/v1",
        "http://127.0.0.1:8401",
        "http://teacher.test/v1",
        str(tmp_path / "data"),
    ):
        assert words in text
    assert len(text.splitlines()) < 20


def test_an_unusable_data_folder_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataFolderError, match="--data"):
        processes.supervisor(chosen(tmp_path), print)


@pytest.mark.parametrize("extra", ["distill", "serving"])
def test_a_missing_extra_names_the_line_to_run(extra: str) -> None:
    assert f"pip install 'tutelage[{extra}]'" in str(MissingExtra(extra, "some_package"))


CLAUDE = """
[teachers.claude]
models = ["claude-*"]
litellm = "anthropic/claude-x"
"""


def test_a_teacher_through_litellm_brings_its_bridge(tmp_path: Path) -> None:
    settings = chosen(tmp_path, f"bridge_port = 9403\n{CLAUDE}")
    supervisor = processes.supervisor(settings, print, installed=lambda package: True)
    parts = {part.name: part for part in supervisor.parts}
    assert list(parts) == ["teacher bridge", "control plane", "data plane", "student server"]
    bridge = parts["teacher bridge"]
    assert bridge.command[1:] == ["-m", "tutelage.plugins.litellm_teacher"]
    assert bridge.ready_url == "http://127.0.0.1:9403/health"
    assert not bridge.optional
    assert json.loads(bridge.environment[ENVIRONMENT])["models"][0]["name"] == "anthropic/claude-x"
    keys = {parts[name].environment.get(BRIDGE_KEY_ENV) for name in ("teacher bridge", "control plane", "data plane")}
    assert len(keys) == 1
    assert len(keys.pop() or "") > 30
    assert BRIDGE_KEY_ENV not in parts["student server"].environment
    assert "http://teacher.test/v1; by model: claude" in processes.screen(settings, supervisor)


def test_the_bridges_key_is_new_each_time(tmp_path: Path) -> None:
    settings = chosen(tmp_path, CLAUDE)
    made = [processes.supervisor(settings, print, installed=lambda package: True) for _ in range(2)]
    assert len({supervisor.parts[0].environment[BRIDGE_KEY_ENV] for supervisor in made}) == 2


def test_without_litellm_nothing_is_prepared(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'tutelage\[litellm\]'"):
        processes.supervisor(chosen(tmp_path, CLAUDE), print, installed=lambda package: False)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CLAUDE + 'key_env = "NOT_SET_ANYWHERE"', "NOT_SET_ANYWHERE"),
        ("[proxy]\nteacher_key_env = 'NOT_SET_ANYWHERE'", "NOT_SET_ANYWHERE"),
        ("[teachers.a]\nmodels = ['x']\nurl = 'a.test'", "http://"),
    ],
)
def test_a_teacher_that_cannot_be_asked_keeps_everything_from_starting(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        processes.supervisor(chosen(tmp_path, text), print, installed=lambda package: True)
    assert not (tmp_path / "data").exists()
