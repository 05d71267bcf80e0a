"""What `serve` would run, and what it says; the processes themselves are tried in tests/test_story.py."""

import json
from pathlib import Path

import pytest

from tutelage import config, processes
from tutelage.proxy.options import ENVIRONMENT
from tutelage.traffic.errors import DataFolderError, MissingExtra
from tutelage.traffic.students import ADAPTER, Manifest, PromptSpec, StudentRegister


def chosen(tmp_path: Path, text: str = "") -> config.Config:
    file = tmp_path / "tutelage.toml"
    file.write_text(f'teacher = "http://teacher.test/v1"\ndata = "data"\n{text}')
    return config.load(file)


def test_three_parts_with_their_options(tmp_path: Path) -> None:
    supervisor = processes.supervisor(chosen(tmp_path, "port = 9400\ncontrol_port = 9401"), print)
    assert [part.name for part in supervisor.parts] == ["control plane", "data plane", "student server"]
    assert supervisor.stop_order == ("data plane", "control plane", "student server")
    plane = json.loads(supervisor.parts[1].environment[ENVIRONMENT])
    assert (plane["teacher_url"], plane["port"]) == ("http://teacher.test/v1", 9400)
    assert supervisor.parts[1].ready_url == "http://127.0.0.1:9400/tutelage/health"
    assert supervisor.addresses["control_url"] == "http://127.0.0.1:9401"


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
