"""Settings: command line over environment over file, and errors that say what to do."""

from pathlib import Path

import pytest

from tutelage import config
from tutelage.traffic.errors import BadInput

FILE = """
teacher = "http://teacher.test/v1/"
data = "here"
port = 9000

[routing]
epsilon_tools = 0.1
ramp = [0.5, 1.0]

[serving]
slots = 2

[prices."big-model"]
input = 2.5
output = 10
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tutelage.toml"
    path.write_text(FILE)
    return path


def test_the_file_reaches_every_process(file: Path) -> None:
    chosen = config.load(file)
    plane, control, serving = chosen.data_plane(), chosen.control(), chosen.serving()
    assert plane.teacher_url == "http://teacher.test/v1"
    assert plane.port == 9000
    assert plane.data == control.data == serving.data == str(file.parent / "here")
    assert control.routing.epsilon_tools == 0.1
    assert control.routing.ramp == (0.5, 1.0)
    assert control.prices["big-model"].output == 10.0
    assert control.data_plane_url == "http://127.0.0.1:9000/v1"
    assert serving.slots == 2


def test_command_line_beats_environment_beats_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_PORT", "9001")
    monkeypatch.setenv("TUTELAGE_ROUTING__EPSILON_TOOLS", "0.2")
    assert config.load(file).settings.port == 9001
    assert config.load(file, port=9002).settings.port == 9002
    assert config.load(file).control().routing.epsilon_tools == 0.2


def test_a_data_folder_from_the_command_line_is_relative_to_the_working_folder(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent.parent)
    assert config.load(file, data=Path("there")).data.root == file.parent.parent / "there"


def test_the_teacher_defaults_to_the_usual_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert config.load().settings.teacher == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://other.test/v1")
    assert config.load().settings.teacher == "http://other.test/v1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tether = 'x'", "tether"),
        ("port = 'many'", "port"),
        ("port = ", "not valid TOML"),
        ("[routing]\nepsilon = 0.1", "epsilon_tools"),
        ("[routing]\nalpha = 'small'", "routing"),
        ("[prices.m]\ninput = 1", "prices.m"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.toml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        config.load(path).control()


def test_a_missing_file_is_an_error_only_when_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="--config"):
        config.load(tmp_path / "none.toml")
    assert config.load().settings.port == 8400


def test_distill_takes_the_command_line_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("[distill]\nepochs = 3\nrank = 8")
    options = config.load(path).distill(epochs=1.5, name=None)
    assert (options.epochs, options.rank, options.name) == (1.5, 8, "")
