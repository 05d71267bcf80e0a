"""`tutelage store …`: look after the store. Each command asks the admin API, which does the work (docs/store.md)."""

import sys
import time
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from . import config
from .listings import DataOption, JsonOption, show, show_parts, store
from .proxy.admin_client import AdminClient
from .traffic import errors
from .traffic.errors import TutelageError

err = Console(stderr=True)
_PAUSE_S = 0.1
"""Between two looks at how far the work is."""
_SHOWN = 50
"""Problems of a table printed for people; `--json` has up to a thousand."""
_UNITS = {"verify": "rows", "compact": "rows", "export": "rows", "import": "bytes", "prune": "runs", "forget": "runs"}


@store.command("verify")
def verify(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Derive every name again from the content and follow every reference. Exits with 1 if anything is wrong."""
    report = _work(data, {"kind": "verify"})
    if as_json:
        show(report, as_json)
    else:
        show({name: value for name, value in report.items() if name not in ("problems", "odd")}, as_json)
        for _, problems in groupby(sorted(report["problems"], key=itemgetter("table")), itemgetter("table")):
            for problem in islice(problems, _SHOWN):
                print(f"{problem['table']} {problem['row']}: {problem['field']} {problem['what']}")
        for odd in report["odd"]:
            print(f"odd, but kept as it came: {odd['found']} × {odd['what']}, such as {odd['example']}")
    if report["found"]:
        err.print(f"{report['found']} problems.", highlight=False)
        raise typer.Exit(1)


@store.command("compact")
def compact(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Give the disk back what removed rows have left. New calls wait in the journal meanwhile."""
    show(_work(data, {"kind": "compact"}), as_json)


@store.command("prune")
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove what the limits in [store] do not keep, the oldest runs first; serve does it by itself, hourly."""
    if not (dry_run or yes):
        typer.confirm("Remove calls for good? (--dry-run says which)", abort=True, err=True)
    show(_work(data, {"kind": "prune", "dry_run": dry_run}), as_json)


@store.command("forget")
def forget(
    trajectory: Annotated[str, typer.Argument(help="Id of the trajectory.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase one run: its calls, and the messages that no other run shares. Says which students learnt from it."""
    if not (dry_run or yes):
        typer.confirm(f"Remove {trajectory} for good? (--dry-run says what goes)", abort=True, err=True)
    erased = _work(data, {"kind": "forget", "trajectory": trajectory, "dry_run": dry_run})
    show_parts(erased, as_json)
    for one in erased["learnt_by"]:
        advice = f"`tutelage students retire {one['version']}`, then `tutelage students delete {one['version']}`"
        err.print(f"{one['version']} has learnt from it and cannot unlearn: {advice}.", highlight=False, soft_wrap=True)


@store.command("export")
def export(
    folder: Annotated[Path, typer.Option("--parquet", help="Folder for the files; new, or of an earlier export.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all tables as Parquet, as they are at one moment. If it is interrupted, run it again: it goes on."""
    show(_work(data, {"kind": "export", "path": str(folder.expanduser().resolve())}), as_json)


@store.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A log, or the folder of an export.")],
    form: Annotated[str, typer.Option("--format", help="own, litellm, langfuse, openai, chat. Default: told.")] = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in the calls of another log. Safe to repeat: calls that are there already stay as they are."""
    report = _work(data, {"kind": "import", "path": str(file.expanduser().resolve()), "form": form})
    show(report, as_json)
    for reason, count in report["skipped"].items():
        err.print(f"Skipped {count}: {reason}", highlight=False, markup=False)


def _work(data: Path | None, order: dict[str, Any]) -> Any:
    """Start a job and wait for its report. Raises the job's error as a TutelageError."""
    chosen = config.load(data=data)
    with AdminClient.open(chosen.data, chosen.control()) as client:
        status = client.post("/api/store/jobs", order)
        with Progress(console=err, disable=not sys.stderr.isatty(), transient=True) as bar:
            task = bar.add_task(f"{order['kind']} ({_UNITS[order['kind']]})", total=None)
            while not status["finished"]:
                time.sleep(_PAUSE_S)
                status = client.get(f"/api/store/jobs/{status['job']}")
                bar.update(task, completed=status["done"], total=status["total"] or None)
    if status["error"]:
        raise _error(status["error_type"], status["error"])
    return status["result"]


def _error(kind: str, message: str) -> TutelageError:
    """The job's error as the class it was there."""
    found = getattr(errors, kind, None)
    if isinstance(found, type) and issubclass(found, TutelageError) and not issubclass(found, errors.MissingExtra):
        return found(message)
    return TutelageError(f"{message} ({kind}). See the log in the data folder's logs/.")
