"""Commands that show what is in the store: each asks the admin API, of the running control plane or in-process.

Data goes to stdout: tables for people, `--json` for programs.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import config
from .proxy.admin_client import AdminClient

DataOption = Annotated[Path | None, typer.Option("--data", envvar="TUTELAGE_DATA", help="The data folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Rows at most.")]

store = typer.Typer(no_args_is_help=True, help="The store: what is kept.")
calls = typer.Typer(no_args_is_help=True, help="Calls: one request and its answer.")
trajectories = typer.Typer(no_args_is_help=True, help="Trajectories: the calls of one agent run.")
patterns = typer.Typer(no_args_is_help=True, help="Patterns: calls that ask for the same kind of work.")


def ask(data: Path | None, path: str, **params: Any) -> Any:
    """GET from the admin API of the data folder."""
    chosen = config.load(data=data)
    with AdminClient.open(chosen.data, chosen.control()) as client:
        return client.get(path, **params)


def tell(data: Path | None, path: str, body: dict[str, Any]) -> Any:
    """POST to the admin API of the data folder."""
    chosen = config.load(data=data)
    with AdminClient.open(chosen.data, chosen.control()) as client:
        return client.post(path, body)


def show(value: Any, as_json: bool, columns: tuple[str, ...] = ()) -> None:
    """Print a list of rows as a table, one object as name and value, or either as JSON."""
    if as_json:
        print(json.dumps(value, ensure_ascii=False, indent=1))
        return
    rows = value if isinstance(value, list) else [{"": name, " ": item} for name, item in value.items()]
    names = columns if columns and isinstance(value, list) else tuple(rows[0]) if rows else columns
    table = Table(*names, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(row.get(name)) for name in names))
    # Into a pipe or a file, whole rows: an id that is cut off is of no use to the next command.
    console = Console(width=None if sys.stdout.isatty() else _WHOLE)
    console.print(table if rows else "Nothing yet.")


def show_parts(value: dict[str, Any], as_json: bool) -> None:
    """Print an object whose values may be objects and lists of objects: each of these as a table of its own."""
    if as_json:
        show(value, as_json)
        return
    parts = {name: item for name, item in value.items() if isinstance(item, dict) or _is_rows(item)}
    show({name: item for name, item in value.items() if name not in parts}, as_json)
    for name, part in parts.items():
        print(f"\n{name.replace('_', ' ')}")
        show(part, as_json)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


_WHOLE = 100_000
"""Characters in a line that nobody looks at."""
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def report(verdict: str, name: str, found: str, advice: str) -> None:
    """One line of a check-up, and below it what to do."""
    console = Console()
    console.print(f"[{_COLOURS[verdict]}]{verdict:8}[/] {name:16} {escape(found)}", highlight=False, soft_wrap=True)
    if advice:
        console.print(f"{'':25} → {escape(advice)}", highlight=False, soft_wrap=True)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:.0f}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value) or "none"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


@store.command("stats")
def store_stats(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Calls, trajectories, messages, patterns and bytes."""
    show(ask(data, "/api/store/stats"), as_json)


@calls.command("list")
def calls_list(
    data: DataOption = None,
    as_json: JsonOption = False,
    limit: LimitOption = 50,
    pattern: Annotated[str | None, typer.Option(help="Only calls of this pattern.")] = None,
    trajectory: Annotated[str | None, typer.Option(help="Only calls of this trajectory.")] = None,
) -> None:
    """The newest calls."""
    rows = ask(data, "/api/calls", limit=limit, pattern=pattern, trajectory=trajectory)
    show(rows, as_json, ("call_id", "route", "reason", "model", "pattern_id", "status", "latency_ms", "finish_reason"))


@calls.command("show")
def calls_show(call: str, data: DataOption = None, as_json: JsonOption = False) -> None:
    """One call with its bodies."""
    show(ask(data, f"/api/calls/{call}"), as_json)


@trajectories.command("list")
def trajectories_list(data: DataOption = None, as_json: JsonOption = False, limit: LimitOption = 50) -> None:
    """The newest trajectories."""
    rows = ask(data, "/api/trajectories", limit=limit)
    show(rows, as_json, ("trajectory_id", "agent_id", "calls", "finished", "success", "success_source", "parent_id"))


@trajectories.command("show")
def trajectories_show(trajectory: str, data: DataOption = None, as_json: JsonOption = False) -> None:
    """One trajectory with its messages and calls."""
    show(ask(data, f"/api/trajectories/{trajectory}"), as_json)


@patterns.command("list")
def patterns_list(data: DataOption = None, as_json: JsonOption = False) -> None:
    """All patterns with their volume."""
    show(
        ask(data, "/api/patterns"), as_json, ("pattern_id", "name", "version", "agent_id", "role", "calls", "sessions")
    )
