"""What benchmarks share, and the journal's benchmark as the example of their form."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def report() -> ModuleType:
    spec = importlib.util.spec_from_file_location("report", ROOT / "benchmarks" / "report.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bars(report: ModuleType) -> None:
    assert report.at_least("a", 5, "x", 5).ok
    assert not report.at_least("a", 4.9, "x", 5).ok
    assert report.at_most("a", 5, "x", 5).ok
    assert report.at_most("a", 5.1, "x", 20_000).bar == "≤ 20000"


def test_percentiles(report: ModuleType) -> None:
    values = list(range(100, 0, -1))
    assert [report.percentile(values, share) for share in (0, 0.005, 0.5, 0.99, 1)] == [1, 1, 50, 99, 100]


@pytest.mark.parametrize(("value", "code"), [(2, 0), (0, 1)])
def test_a_missed_bar_is_an_error(
    report: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: int, code: int
) -> None:
    run = report.start("x", None, ["--quick", "--seed", "7", "--json", str(tmp_path / "x.json")])
    assert report.finish(run, [report.at_least("speed", value, "m/s", 1)], {"all": [1]}, ["msgspec", "no-such"]) == code
    assert ("ok" if value else "MISSED") in capsys.readouterr().out
    results = json.loads((tmp_path / "x.json").read_text())
    assert results["bars"] == [{"name": "speed", "value": value, "unit": "m/s", "bar": "≥ 1", "ok": bool(value)}]
    assert (results["seed"], results["quick"], results["raw"]) == (7, True, {"all": [1]})
    assert results["versions"]["no-such"] == "not installed"
    assert results["commit"]
    assert results["versions"]["python"]


def test_the_journal_benchmark_writes_this_form(tmp_path: Path) -> None:
    file = tmp_path / "journal.json"
    command = [sys.executable, "-m", "benchmarks.journal", "--quick", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    results = json.loads(file.read_text())
    bars = {bar["name"]: bar for bar in results["bars"]}
    assert bars["records missing or changed"]["value"] == 0
    assert bars["written, sync=interval"]["unit"] == "records/s"
    # Speed depends on what else runs on the machine; that the exit code says it does not.
    assert done.returncode == (0 if all(bar["ok"] for bar in bars.values()) else 1)
