"""What all benchmarks share: options, bars, and the form of their results.

A benchmark measures, compares its figures with bars, prints a table and, with `--json FILE`, writes

    {"benchmark", "bars": [{"name", "value", "unit", "bar", "ok"}], "raw": {…}, "seed", "quick", "seconds",
     "versions": {…}, "machine": {…}, "commit", "at"}

It exits with 1 when a figure misses its bar.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Bar:
    """A figure and what it has to reach."""

    name: str
    value: float
    unit: str
    bar: str
    """For people: `≥ 20000`, `≤ 1`."""
    ok: bool


def at_least(name: str, value: float, unit: str, bound: float) -> Bar:
    """A bar for a figure that should be large."""
    return Bar(name, value, unit, f"≥ {bound:g}", value >= bound)


def at_most(name: str, value: float, unit: str, bound: float) -> Bar:
    """A bar for a figure that should be small."""
    return Bar(name, value, unit, f"≤ {bound:g}", value <= bound)


@dataclass(frozen=True)
class Run:
    """How a benchmark was started."""

    name: str
    quick: bool
    seed: int
    json_file: Path | None
    started: float


def start(name: str, description: str | None, arguments: Sequence[str] | None = None) -> Run:
    """Read the options that every benchmark has."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--quick", action="store_true", help="a smaller run, for a first look")
    parser.add_argument("--seed", type=int, default=1, help="of all random choices (default 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    options = parser.parse_args(arguments)
    return Run(name, options.quick, options.seed, options.json, time.monotonic())


def finish(run: Run, bars: Sequence[Bar], raw: dict[str, Any], packages: Sequence[str] = ()) -> int:
    """Print the table, write the JSON file if one was asked for; the exit code."""
    table = Table("figure", "value", "unit", "bar", "", title=f"benchmark {run.name}, commit {commit()}")
    for bar in bars:
        value = f"{bar.value:,.0f}" if abs(bar.value) >= 1000 else f"{bar.value:.4g}"
        table.add_row(bar.name, value, bar.unit, bar.bar, "ok" if bar.ok else "MISSED")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if run.json_file is not None:
        run.json_file.write_text(json.dumps(_results(run, bars, raw, packages), indent=1) + "\n")
    return 0 if all(bar.ok for bar in bars) else 1


def _results(run: Run, bars: Sequence[Bar], raw: dict[str, Any], packages: Sequence[str]) -> dict[str, Any]:
    return {
        "benchmark": run.name,
        "bars": [asdict(bar) for bar in bars],
        "raw": raw,
        "seed": run.seed,
        "quick": run.quick,
        "seconds": round(time.monotonic() - run.started, 3),
        "versions": versions(packages),
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine(), "system": platform.system()},
        "commit": commit(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Versions of Python, of this program and of the packages that a figure depends on."""
    found = {"python": platform.python_version()}
    for package in ("tutelage", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> str:
    """The commit that is measured, with `+` when files differ from it; `unknown` outside a checkout."""
    head = _git("rev-parse", "--short=12", "HEAD")
    return f"{head}+" if head and _git("status", "--porcelain") else head or "unknown"


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of the values do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -int(-share * len(ranked) // 1) - 1))]
