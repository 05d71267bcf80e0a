"""Settings: command line over environment over file, and errors that say what to do."""

import re
from pathlib import Path

import pytest

from tutelage import config
from tutelage.plugins.litellm_options import BRIDGE_KEY_ENV, BridgeModel
from tutelage.proxy.options import TeacherOptions
from tutelage.proxy.teachers import Teachers
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


def test_lists_are_given_as_json_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_DISTILL__TARGETS", '["all-linear"]')
    monkeypatch.setenv("TUTELAGE_ROUTING__RAMP", "[0.2, 0.5]")
    chosen = config.load()
    assert chosen.distill().targets == ("all-linear",)
    assert chosen.control().routing.ramp == (0.2, 0.5)
    monkeypatch.setenv("TUTELAGE_DISTILL__TARGETS", "[all-linear")
    with pytest.raises(BadInput, match="Expected `array`"):
        config.load().distill()


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
        ("teacher = 'localhost:9000/v1'", "neither a URL nor a LiteLLM model name"),
        ("teacher = 'claude'", "neither a URL nor a LiteLLM model name"),
        ("teacher = 'a/b'\n[proxy]\nteacher_model = 'c'", "proxy.teacher_model"),
        ("[teachers.a]\nmodels = ['x']", "Say where teachers.a is"),
        ("[teachers.a]\nurl = 'http://a.test/v1'", "models"),
        ("[teachers.a]\nmodels = ['x']\nadress = 'y'", "teachers.a.adress"),
        ("[teachers.a]\nmodels = ['x']\nlitellm = 'claude'", "provider/model"),
        ("[teachers.a]\nmodels = ['x']\nlitellm = 'a/b'\nmodel = 'c'", "leave `model` away"),
        (
            "[teachers.a]\nmodels = ['x']\nlitellm = 'a/b'\n"
            "[teachers.c]\nmodels = ['y']\nlitellm = 'a/b'\nkey_env = 'K'",
            "different settings",
        ),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.toml"
    path.write_text(text)

    def options() -> None:
        chosen = config.load(path)
        for make in (chosen.control, chosen.data_plane, chosen.bridge):
            make()

    with pytest.raises(BadInput, match=message):
        options()


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


def written(tmp_path: Path, text: str) -> config.Config:
    path = tmp_path / "t.toml"
    path.write_text(text)
    return config.load(path)


def test_a_teacher_with_a_url_needs_no_bridge(tmp_path: Path) -> None:
    chosen = written(tmp_path, "teacher = 'http://t.test/v1'\n[proxy]\nteacher_key_env = 'K'\nteacher_model = 'm'")
    plane = chosen.data_plane()
    assert (plane.teacher_url, plane.teacher_key_env, plane.teacher_model) == ("http://t.test/v1", "K", "m")
    assert chosen.control().teacher_key_env == "OPENAI_API_KEY"
    assert chosen.bridge() is None


@pytest.mark.parametrize(
    ("more", "key_env"),
    [("", ""), ("teacher_key_env = 'MINE'", "MINE"), ("[proxy]\nteacher_key_env = 'MINE'", "MINE")],
)
def test_a_litellm_name_as_the_teacher(tmp_path: Path, more: str, key_env: str) -> None:
    chosen = written(tmp_path, f"teacher = 'anthropic/claude-x'\nbridge_port = 9403\n{more}")
    plane, control, bridge = chosen.data_plane(), chosen.control(), chosen.bridge()
    assert (plane.teacher_url, plane.teacher_model) == ("http://127.0.0.1:9403/v1", "anthropic/claude-x")
    assert plane.teacher_key_env == control.teacher_key_env == BRIDGE_KEY_ENV
    assert (control.teacher_url, control.teacher_model) == (plane.teacher_url, plane.teacher_model)
    assert bridge
    assert (bridge.models, bridge.port) == ((BridgeModel("anthropic/claude-x", key_env=key_env),), 9403)


def test_more_teachers_by_section(tmp_path: Path) -> None:
    chosen = written(
        tmp_path,
        """
        teacher = "http://t.test/v1"
        [teachers.groq]
        models = ["llama-*"]
        url = "http://groq.test/v1"
        key_env = "GROQ"
        model = "llama-9"
        [teachers.claude]
        models = ["claude", "c-*"]
        litellm = "anthropic/claude-x"
        url = "http://claude.test"
        key_env = "CLAUDE"
        """,
    )
    bridge = chosen.bridge()
    assert chosen.data_plane().teachers == (
        TeacherOptions("groq", ("llama-*",), "http://groq.test/v1", "GROQ", "llama-9"),
        TeacherOptions("claude", ("claude", "c-*"), chosen.bridge_url, BRIDGE_KEY_ENV, "anthropic/claude-x"),
    )
    assert chosen.control().teachers == chosen.data_plane().teachers
    assert bridge
    assert bridge.models == (BridgeModel("anthropic/claude-x", "http://claude.test", "CLAUDE"),)


def test_one_model_of_litellm_may_have_several_names(tmp_path: Path) -> None:
    section = "[teachers.{0}]\nmodels = ['{0}']\nlitellm = 'a/b'\n"
    bridge = written(tmp_path, section.format("x") + section.format("y")).bridge()
    assert bridge
    assert bridge.models == (BridgeModel("a/b"),)


PAGE = (Path(__file__).parent.parent / "docs" / "teachers.md").read_text()
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_page_on_teachers_work(tmp_path: Path, example: str) -> None:
    chosen = written(tmp_path, example)
    environ: dict[str, str] = {BRIDGE_KEY_ENV: "a", "OPENAI_API_KEY": "b", "GROQ_API_KEY": "c"}
    teachers = Teachers.build(chosen.data_plane(), environ)
    assert len(teachers.every()) == 1 + example.count("[teachers.")
    assert (chosen.bridge() is not None) == ("anthropic/" in example)
    if "claude-*" in example:
        assert teachers.of("claude-opus").model == "anthropic/claude-sonnet-4-5"


def test_the_rules_for_personal_data_reach_training_and_the_preview(tmp_path: Path) -> None:
    file = tmp_path / "tutelage.toml"
    file.write_text(
        "[scrub]\nlanguages = ['en', 'de']\n[scrub.fields]\nnote = 'drop'\n"
        "[scrub.recognisers.PATIENT_ID]\npattern = 'PT-\\d{6}'\ncontext = ['patient']\n"
        "[teachers.claude]\nmodels = ['claude-*']\nurl = 'https://a.example/v1'\ndistillable = 'no'\n"
    )
    settings = config.load(file)
    rules = settings.distill().scrub
    assert rules == settings.control().scrub
    assert rules.recognisers["PATIENT_ID"].context == ("patient",)
    assert rules.treatment(("note",)) == "drop"
    (terms,) = settings.distill().teachers
    assert (terms.name, terms.models, terms.distillable) == ("claude", ("claude-*",), "no")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[scrub]\nallow = ['[a-']", "scrub.allow"),
        ("[scrub.fields]\nnote = 'burn'", "scrub.*'burn'|scrub.*wrong form"),
        ("[teachers.x]\nmodels = ['m']\nurl = 'https://a.example'\ndistillable = 'maybe'", "distillable|wrong form"),
    ],
)
def test_rules_that_cannot_be_are_said(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "tutelage.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=message):
        config.load(file).distill()
