"""`tutelage config …`: the settings in force with where each was said, and a new config file that explains itself."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import config
from .listings import DataOption, JsonOption, show
from .settings_text import commented_file
from .traffic.errors import BadInput

settings = typer.Typer(no_args_is_help=True, help="Settings.")
err = Console(stderr=True)
FileOption = Annotated[Path | None, typer.Option("--config", help="Config file. Default: ./tutelage.toml if any.")]


@settings.command("show")
def show_settings(
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not the default.")] = False,
    file: FileOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every setting in force and where it was said. Keys are never shown, only whether they are set."""
    rows = [asdict(setting) for setting in config.load(file, data=data).control().settings]
    show([row for row in rows if not changed or row["source"] != "default"], as_json)


@settings.command("init")
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path(config.DEFAULT_FILE),
    force: Annotated[bool, typer.Option("--force", help="Replace the file that is there.")] = False,
) -> None:
    """Write a config file in which every setting is explained and commented out."""
    if path.exists() and not force:
        raise BadInput(f"{path} is there already. Choose another name, or replace it with --force.")
    try:
        path.write_text(commented_file(), encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror or error}.") from error
    err.print(f"Wrote {path}. Uncomment what you want to change; `tutelage config show` says what is in force.")
