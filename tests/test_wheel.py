"""The wheel works by itself: built and installed alone into an empty environment, it runs, lightly."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    # Neither our checkout nor the outer environment may help.
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, env=clean)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, ROOT, cwd=target)
    assert done.returncode == 0, done.stderr[-3000:]
    return next(target.glob("tutelage-*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and what it needs, and nothing else."""
    place = tmp_path_factory.mktemp("empty")
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    done = run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=place)
    if done.returncode and "Could not find a version" in done.stderr:
        pytest.skip("The packages that the wheel needs cannot be fetched here.")
    assert done.returncode == 0, done.stderr[-3000:]
    return python


def test_the_wheel_holds_the_package_with_its_pages_and_nothing_of_the_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "tutelage/py.typed",
        "tutelage/proxy/templates/overview.html",
        "tutelage/traffic/model_prices.json",
    } <= names
    assert [name for name in names if name.startswith(("tutelage/tests", "tutelage/docs", "tutelage/benchmarks"))] == []
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"tutelage"}


def test_the_command_runs(python: Path, tmp_path: Path) -> None:
    helped = run(python.parent / "tutelage", "--help", cwd=tmp_path)
    assert helped.returncode == 0, helped.stderr
    assert "serve" in helped.stdout
    status = run(python.parent / "tutelage", "status", "--data", tmp_path / "data", "--json", cwd=tmp_path)
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["store"]["calls"] == 0


@pytest.mark.parametrize("module", ["proxy.dataplane", "proxy.control", "proxy.supervisor", "examples.parcels.teacher"])
def test_what_serves_can_be_imported_without_extras(python: Path, module: str, tmp_path: Path) -> None:
    done = run(python, "-W", "error", "-c", f"import tutelage.{module}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_what_an_extra_brings_is_named_when_it_is_missing(python: Path, tmp_path: Path) -> None:
    done = run(python.parent / "tutelage", "distill", "run", "--data", tmp_path / "data", cwd=tmp_path)
    assert done.returncode == 1
    assert "tutelage[distill]" in done.stderr
