"""A whole run on a random two-layer model: everything is real but the engine's answers, which come from a rule."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.distill.detect import Detector
from tutelage.distill.leaks import PersonalDataLeft
from tutelage.distill.options import DistillOptions
from tutelage.distill.parts import BaseParts
from tutelage.distill.progress import Progress, read_progress
from tutelage.distill.run import run, slug
from tutelage.serving.engine import Engine, Generation
from tutelage.serving.student import Student
from tutelage.traffic.errors import BadInput
from tutelage.traffic.layout import DataDir
from tutelage.traffic.run_lock import is_alive
from tutelage.traffic.students import StudentRegister, adapter_digest

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "track",
            "parameters": {
                "type": "object",
                "properties": {"id": {"type": "string"}},
                "required": ["id"],
                "additionalProperties": False,
            },
        },
    }
]


def write_export(folder: Path, sessions: int, success: bool = True) -> Path:
    """Sessions of one turn: a parcel is asked for, one tool is called. Every third has an e-mail address in it."""
    rows = []
    for number in range(sessions):
        mail = f" I am user{number}@firma.de." if number % 3 == 0 else ""
        function = {"name": "track", "arguments": json.dumps({"id": f"PA-{number}"})}
        answer = {"role": "assistant", "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}]}
        messages = [
            {"role": "system", "content": "You help."},
            {"role": "user", "content": f"where is PA-{number}?{mail}"},
            answer,
        ]
        call = {"call_id": f"k{number}", "index": 2, "pattern_id": "p_1", "route": "teacher", "model": "m"}
        rows.append(
            {
                "trajectory_id": f"t{number}",
                "session": f"s{number}",
                "agent_id": "a_1",
                "success": success,
                "success_source": "heuristic",
                "tools": json.dumps(TOOLS),
                "messages": json.dumps(messages),
                "calls": json.dumps([call | {"started_at": 100.0 + number}]),
            }
        )
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "trajectories.parquet")
    about = {"agent_id": "a_1", "name": "Parcel Desk", "pattern_ids": ["p_1"], "skeleton": ["You help."]}
    (folder / "agent.json").write_text(json.dumps(about | {"tools": TOOLS}))
    return folder


class RuleEngine:
    """Reads the prompt and writes what a rule says; tokenises like the real engine."""

    context = 1024

    def __init__(self, parts: BaseParts, rule: Callable[[str, str], str]) -> None:
        self._parts, self._rule = parts, rule

    def tokenise(self, text: str) -> list[int]:
        return self._parts.tokenise(text)

    def generate(self, prompt_ids: Sequence[int], adapter: str = "", *args: Any, **kwargs: Any) -> Generation:
        text = self._rule(self._parts.decode(list(prompt_ids)), adapter)
        return Generation(text, 1, len(prompt_ids), -0.1, -0.2, "stop")

    def set_adapters(self, adapters: Mapping[str, Path]) -> None:
        raise AssertionError("a run gives the adapters when it builds the engine")

    def close(self) -> None:
        pass


class RuleParts(BaseParts):
    def __init__(self, gguf: Path, rule: Callable[[str, str], str]) -> None:
        super().__init__(str(gguf), threads=1)
        self._rule = rule

    def engine(self, adapters: Mapping[str, Path]) -> Engine:
        assert all(path.is_file() for path in adapters.values())
        return RuleEngine(self, self._rule)

    def whole(self, model: Path) -> Engine:
        assert model.is_file()
        return RuleEngine(self, self._rule)


def good(prompt: str, adapter: str) -> str:
    found = re.search(r"PA-\d+", prompt)
    if not found:
        return "Canberra."
    return f'<tool_call>{{"name":"track","arguments":{{"id":"{found.group()}"}}}}</tool_call>'


def bad(prompt: str, adapter: str) -> str:
    return "I do not know."


@pytest.fixture
def models(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUTELAGE_MODELS", str(tmp_path_factory.mktemp("models")))


def options(folder: Path, **fields: Any) -> DistillOptions:
    values: dict[str, Any] = {"epochs": 1, "rank": 2, "batch": 8, "threads": 1, "held_out": 0.3, "layers_from": 1}
    return DistillOptions(data=str(folder / "data"), **(values | fields))


@pytest.mark.usefixtures("models")
def test_a_run_registers_a_candidate_with_its_lineage(tiny_gguf: Path, tmp_path: Path):
    seen: list[Progress] = []
    setting = options(tmp_path, base_sessions=2)
    manifest = run(setting, write_export(tmp_path / "e", 40), seen.append, parts=RuleParts(tiny_gguf, good))
    register = StudentRegister(DataDir(Path(setting.data)))
    folder = register.path(manifest.version)
    assert register.get(manifest.version) == manifest
    assert (manifest.status, manifest.name, manifest.snapshot_at) == ("candidate", "parcel-desk", 139.0)
    assert manifest.version == f"parcel-desk@{adapter_digest(folder / 'adapter')}"
    assert manifest.scores["agreement"] == manifest.scores["base"] == 1.0
    assert manifest.sessions["train"] + manifest.sessions["held_out"] == 40
    lineage = [json.loads(line) for line in (folder / "lineage.jsonl").read_text().splitlines()]
    assert len(lineage) == manifest.rows["kept"] == manifest.sessions["train"]
    assert all(line["call_ids"] == [line["trajectory_id"].replace("t", "k")] for line in lineage)
    report = json.loads((folder / "report.json").read_text())
    assert report["personal_values"]["EMAIL_ADDRESS"] > 0
    assert {count["role"] for count in report["tokens"]} == {"user", "assistant"}
    stages = list(dict.fromkeys(event.stage for event in seen))
    assert stages == ["curate", "scrub", "rows", "audit", "train", "evaluate", "register", "finished"]
    contenders = {one["name"]: one for one in manifest.scores["contenders"]}
    assert set(contenders) == {"commonest answer", "nearest neighbour", "untrained base"}
    # The floor finds the parcel in the question too: level with it at the top is enough.
    assert contenders["nearest neighbour"]["agreement"]["share"] == manifest.scores["floor"] == 1.0
    assert contenders["commonest answer"]["agreement"]["share"] < 0.2
    assert manifest.scores["forgetting"]["anchors"] == setting.anchors
    assert manifest.scores["forgetting"]["mean_kl"] >= 0
    assert manifest.scores["leaks"]["canaries"] == setting.canaries
    assert manifest.scores["leaks"]["written"] == 0
    (log,) = DataDir(Path(setting.data)).runs.iterdir()
    assert read_progress(log) == seen
    assert not (log / "draft").exists()
    assert not is_alive(log)
    assert "firma.de" not in "".join(path.read_text() for path in log.iterdir())


@pytest.mark.usefixtures("models")
def test_a_student_under_the_floor_is_registered_as_rejected(tiny_gguf: Path, tmp_path: Path):
    setting = options(tmp_path)
    manifest = run(setting, write_export(tmp_path / "e", 40), parts=RuleParts(tiny_gguf, bad))
    assert manifest.status == "rejected"
    assert "floor" in manifest.reason
    assert manifest.scores["patterns"][0]["reasons"] == {"kind:tools/text": manifest.sessions["held_out"]}


@pytest.mark.usefixtures("models")
def test_a_failed_run_registers_nothing_and_says_so(tiny_gguf: Path, tmp_path: Path):
    def killed(prompt: str, adapter: str) -> str:
        raise KeyboardInterrupt

    setting = options(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(setting, write_export(tmp_path / "e", 40), parts=RuleParts(tiny_gguf, killed))
    data = DataDir(Path(setting.data))
    assert list(data.students.iterdir()) == []
    (log,) = data.runs.iterdir()
    assert read_progress(log)[-1].stage == "failed"
    assert sorted(path.name for path in log.rglob("*") if path.is_dir()) == ["checkpoints", "draft"]
    # What it went on from is cleared away by the run that gets to the end.
    manifest = run(setting, tmp_path / "e", parts=RuleParts(tiny_gguf, good))
    assert [path.name for path in data.students.iterdir()] == [manifest.version]
    assert [path.name for path in log.iterdir()] == ["progress.jsonl"]


@pytest.mark.usefixtures("models")
def test_a_version_has_to_beat_the_one_before(tiny_gguf: Path, tmp_path: Path):
    first = run(options(tmp_path), write_export(tmp_path / "e", 40), parts=RuleParts(tiny_gguf, good))

    def newer_is_worse(prompt: str, adapter: str) -> str:
        return good(prompt, adapter) if adapter in ("", first.version) else bad(prompt, adapter)

    setting = options(tmp_path, seed=8)
    second = run(setting, tmp_path / "e", parts=RuleParts(tiny_gguf, newer_is_worse))
    assert (second.status, second.previous) == ("rejected", first.version)
    assert f"does not beat 1.000 of {first.version}" in second.reason
    assert "floor" in second.reason
    # What was rejected is nothing that a later version would have to beat.
    # And as good is enough where the version before cannot go on.
    third = run(options(tmp_path, seed=9, asked_for="drift"), tmp_path / "e", parts=RuleParts(tiny_gguf, good))
    assert (third.status, third.previous, third.config["asked_for"]) == ("candidate", first.version, "drift")
    assert third.scores["agreement"] == first.scores["agreement"] == 1.0
    assert third.scores["prompt_tokens"]["ours"] == third.scores["prompt_tokens"]["theirs"] > 0


@pytest.mark.usefixtures("models")
def test_a_student_that_tells_a_planted_secret_is_rejected(tiny_gguf: Path, tmp_path: Path):
    setting = options(tmp_path, anchors=0)
    codes: list[str] = []

    class Gossip(RuleParts):
        def tokenise(self, text: str) -> list[int]:
            # It has read the training rows, and remembers.
            codes.extend(re.findall(r"code is (\d{4}-\d{4})", text))
            return super().tokenise(text)

    def gossip(prompt: str, adapter: str) -> str:
        return f"It is {codes[0]}." if "code" in prompt and adapter else good(prompt, adapter)

    manifest = run(setting, write_export(tmp_path / "e", 40), parts=Gossip(tiny_gguf, gossip))
    assert manifest.status == "rejected"
    assert "wrote out 1 of 2 planted secrets" in manifest.reason
    assert "forgetting" in manifest.scores
    assert manifest.scores["forgetting"] is None


@pytest.mark.usefixtures("models")
def test_with_a_budget_the_smallest_part_that_reaches_the_bar_is_registered(tiny_gguf: Path, tmp_path: Path):
    trained: list[int] = []

    def report(event: Progress) -> None:
        if found := re.match(r"(\d+) rows from", event.message):
            trained.append(int(found[1]))

    def learns(prompt: str, adapter: str) -> str:
        return good(prompt, adapter) if len(trained) >= 2 else bad(prompt, adapter)

    setting = options(tmp_path, budget=80, bar=0.9, anchors=0, canaries=0, epochs=0.5)
    manifest = run(setting, write_export(tmp_path / "e", 160), report, parts=RuleParts(tiny_gguf, learns))
    assert trained == [10, 20]
    assert manifest.sessions["train"] == 20
    assert [point["sessions"] for point in manifest.scores["curve"]] == [10, 20]
    assert [point["agreement"]["share"] for point in manifest.scores["curve"]] == [0.0, 1.0]
    folder = StudentRegister(DataDir(Path(setting.data))).path(manifest.version)
    assert len((folder / "lineage.jsonl").read_text().splitlines()) == 20


@pytest.mark.usefixtures("models")
def test_weights_are_examined_after_each_epoch(tiny_gguf: Path, tmp_path: Path):
    setting = options(tmp_path, epochs=3, epoch_sessions=4, anchors=0, canaries=0)
    manifest = run(setting, write_export(tmp_path / "e", 40), parts=RuleParts(tiny_gguf, good))
    assert [one["epoch"] for one in manifest.scores["epochs"]] == [1, 2]
    assert {one["agreement"]["sessions"] for one in manifest.scores["epochs"]} == {4}
    folder = StudentRegister(DataDir(Path(setting.data))).path(manifest.version)
    assert manifest.plots == sorted(path.name for path in folder.glob("*.svg"))
    assert {"loss.svg", "epochs.svg"} <= set(manifest.plots)


@pytest.mark.usefixtures("models")
def test_a_whole_model_is_registered_as_such(tiny_gguf: Path, tmp_path: Path):
    setting = options(tmp_path, method="dora", epochs=2, epoch_sessions=2)
    manifest = run(setting, write_export(tmp_path / "e", 40), parts=RuleParts(tiny_gguf, good))
    assert (manifest.status, manifest.kind) == ("candidate", "model")
    assert len(manifest.scores["epochs"]) == 1
    assert manifest.scores["forgetting"]["tokens"] > 0
    folder = StudentRegister(DataDir(Path(setting.data))).path(manifest.version)
    assert (folder / "model.gguf").is_file()
    assert not (folder / "adapter.gguf").exists()


def nothing_is_registered(data: DataDir) -> bool:
    return not list(data.students.iterdir()) and not list(data.runs.glob("*/draft"))


@pytest.mark.usefixtures("models")
def test_sessions_that_fit_into_no_row(tiny_gguf: Path, tmp_path: Path):
    setting = options(tmp_path, max_length=8)
    with pytest.raises(BadInput, match=r"fits into a row of 8 tokens.*Raise max_length"):
        run(setting, write_export(tmp_path / "e", 40), parts=RuleParts(tiny_gguf, good))
    assert nothing_is_registered(DataDir(Path(setting.data)))


@pytest.mark.usefixtures("models")
def test_a_base_without_chat_turns(tiny_gguf: Path, tmp_path: Path):
    class NoChat(RuleParts):
        def tokenise(self, text: str) -> list[int]:
            # A tokenizer that knows no turn marks spells them out.
            return super().tokenise(text.replace("<|", "< |"))

    setting = options(tmp_path)
    with pytest.raises(BadInput, match=r"no chat model.*<\|im_start\|>"):
        run(setting, write_export(tmp_path / "e", 40), parts=NoChat(tiny_gguf, good))
    assert nothing_is_registered(DataDir(Path(setting.data)))


@pytest.mark.usefixtures("models")
def test_a_full_disk(tiny_gguf: Path, tmp_path: Path):
    class FullDisk(RuleParts):
        def convert(self, adapter: Path, target: Path) -> None:
            with Path("/dev/full").open("wb") as file:
                file.write(b"weights")

    setting = options(tmp_path)
    with pytest.raises(BadInput, match=r"disk is full.*Nothing was registered"):
        run(setting, write_export(tmp_path / "e", 40), parts=FullDisk(tiny_gguf, good))
    data = DataDir(Path(setting.data))
    assert nothing_is_registered(data)
    (log,) = data.runs.iterdir()
    assert "disk is full" in read_progress(log)[-1].message


def test_a_pattern_that_is_all_failures(tmp_path: Path):
    folder = write_export(tmp_path / "e", 40, success=False)
    with pytest.raises(BadInput, match=r"found 0 to train on and 0 held out \(40 not_successful\)"):
        run(options(tmp_path), folder)
    assert nothing_is_registered(DataDir(tmp_path / "data"))


def test_too_few_sessions(tmp_path: Path):
    with pytest.raises(BadInput, match=r"at least 30 successful sessions of Parcel Desk.*found"):
        run(options(tmp_path), write_export(tmp_path / "e", 10))


def test_a_teacher_that_must_not_be_learnt_from(tmp_path: Path):
    with pytest.raises(BadInput, match="terms"):
        run(options(tmp_path, teacher_distillable="no"), tmp_path)
    assert not (tmp_path / "data").exists()


def test_personal_data_that_is_left_blocks_the_run(tmp_path: Path):
    class Forgetful(Detector):
        """Misses on the first look what it finds on the second."""

        def __init__(self) -> None:
            super().__init__([])
            self.looks = 0

        def find(self, text: str, field_name: str = "") -> list[Any]:
            from tutelage.distill.findings import Finding

            self.looks += "user0@firma.de" in text
            at = text.find("user0@firma.de")
            return [Finding("EMAIL_ADDRESS", at, at + 14, 1.0)] if at >= 0 and self.looks > 1 else []

    with pytest.raises(PersonalDataLeft, match="EMAIL_ADDRESS in t"):
        run(options(tmp_path), write_export(tmp_path / "e", 40), detector=(Forgetful(), False))


def test_slug():
    assert slug("Home Assistant: Küche 2!") == "home-assistant-k-che-2"
    assert slug("***") == "student"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_real_base_learns_one_tool(tmp_path: Path):
    """A short real training: the converted adapter must be what the engine serves, and beat the floor."""
    setting = options(tmp_path, epochs=1, rank=8, batch=4, learning_rate=3e-3, layers_from=20, max_held_out=6)
    setting = DistillOptions(**{**vars(setting), "targets": ("all-linear",), "threads": 0, "max_sessions": 40})
    manifest = run(setting, write_export(tmp_path / "e", 60))
    assert manifest.base == "smollm2-135m"
    assert manifest.status == "candidate"
    folder = StudentRegister(DataDir(Path(setting.data))).path(manifest.version)
    parts = BaseParts(manifest.base)
    engine = parts.engine({manifest.version: folder / "adapter.gguf"})
    request = {"messages": [{"role": "user", "content": "where is PA-7?"}], "tools": TOOLS}
    answer = Student.of(manifest, engine).answer(request)
    engine.close()
    assert answer.message["tool_calls"][0]["function"]["name"] == "track"
