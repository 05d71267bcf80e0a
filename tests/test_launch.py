"""Real processes: two of them train as one does; one that is killed is started again and ends where it would have."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from training_world import OPTIONS, rows, weights

from tutelage.distill.launch import _write, main
from tutelage.distill.parts import BaseParts
from tutelage.distill.progress import Progress, silent
from tutelage.distill.train import Job, train
from tutelage.traffic.errors import BadInput

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def tiny(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> BaseParts:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_MODELS", str(tmp_path_factory.mktemp("models")))
        return BaseParts(str(tiny_gguf), threads=1)


def test_two_processes_make_the_weights_of_one(tiny: BaseParts, tmp_path: Path):
    seen: list[Progress] = []
    epochs: list[int] = []
    setting = replace(OPTIONS, method="lora", patience=3)
    one = train(rows(tiny), tiny.folder, tmp_path / "one", setting, silent)
    two = train(
        rows(tiny),
        tiny.folder,
        tmp_path / "two",
        replace(setting, processes=2),
        seen.append,
        on_epoch=lambda number, folder: epochs.append(number + 10 * (folder / "adapter_config.json").is_file()),
    )
    assert two.losses == pytest.approx(one.losses, abs=1e-3)
    assert two.watched_losses == pytest.approx(one.watched_losses, abs=1e-3)
    assert (two.adapter, two.tokens, two.parameters) == (tmp_path / "two", one.tokens, one.parameters)
    assert [event.loss for event in seen] == pytest.approx(two.losses)
    assert epochs == [11, 12]
    first, second = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert first.keys() == second.keys()
    assert all((first[name] - second[name]).abs().max() < 1e-3 for name in first)


def test_what_a_process_refuses_is_written_for_the_parent(tiny: BaseParts, tmp_path: Path):
    setting = replace(OPTIONS, processes=2, layers_from=7)
    _write(Job(rows(tiny), tiny.folder, tmp_path / "out", setting, silent), None, tmp_path)
    with pytest.raises(BadInput) as caught:
        main(tmp_path)
    (told,) = tmp_path.glob("refused-*")
    assert told.read_text() == str(caught.value)
    assert "layers: give 0 to 1" in str(caught.value)


def test_a_process_ends_with_the_one_that_started_it():
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    code = "import sys; from tutelage.distill.launch import _need; _need(int(sys.argv[1])); print('lives')"
    for parent, said in ((dead.pid, ""), (os.getpid(), "lives\n")):
        done = subprocess.run([sys.executable, "-c", code, str(parent)], capture_output=True, text=True, check=False)
        assert (done.stdout, done.returncode) == (said, 0 if said else 1)


CHILD = """
import json, sys
from dataclasses import asdict
from pathlib import Path
import msgspec
from tutelage.distill.options import DistillOptions
from tutelage.distill.rows import Row
from tutelage.distill.train import Job, train
told = json.loads(sys.stdin.read())
rows = [msgspec.convert(row, Row) for row in told["rows"]]
options = msgspec.convert(told["options"], DistillOptions)
train(rows, Path(told["base"]), Path(told["out"]), options, lambda event: print(event.message, flush=True))
"""


@pytest.mark.chaos
def test_a_killed_training_goes_on_where_it_was(tiny: BaseParts, tmp_path: Path):
    """Dropout and a stop by the watched loss have a state of their own; a restart must not change either."""
    setting = replace(OPTIONS, epochs=8, dropout=0.2, patience=9, checkpoint_s=1e-9)
    some = rows(tiny)
    whole = train(some, tiny.folder, tmp_path / "whole", replace(setting, checkpoint_s=0), silent)
    draft = tmp_path / "runs" / "1" / "draft"
    draft.mkdir(parents=True)
    told = {"rows": [asdict(row) for row in some], "options": asdict(setting), "base": str(tiny.folder)}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
    )
    assert child.stdin
    assert child.stdout
    child.stdin.write(json.dumps({**told, "out": str(draft / "adapter")}))
    child.stdin.close()
    for line in child.stdout:
        if line.startswith("step 7 "):
            child.send_signal(signal.SIGKILL)
            break
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    assert not (draft / "adapter").exists()
    later = tmp_path / "runs" / "2" / "draft" / "adapter"
    made = train(some, tiny.folder, later, setting, silent, runs=tmp_path / "runs")
    assert 5 <= made.resumed_at <= 8
    assert made.losses == pytest.approx(whole.losses, abs=1e-5)
    assert made.watched_losses == pytest.approx(whole.watched_losses, abs=1e-5)
    assert made.best_step == whole.best_step
    first, second = weights(whole.adapter), weights(made.adapter)
    assert all((first[name] - second[name]).abs().max() < 1e-5 for name in first)
