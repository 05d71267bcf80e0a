"""`tutelage distill`: training student versions."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import config
from .listings import DataOption, JsonOption, show

distill = typer.Typer(no_args_is_help=True, help="Train student versions.")
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Config file. Default: ./tutelage.toml if any.")]
err = Console(stderr=True)


@distill.command("run")
def distill_run(
    agent: Annotated[str | None, typer.Option(help="Agent or pattern. Default: the one with most sessions.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the student.")] = None,
    base: Annotated[str | None, typer.Option(help="Base model.")] = None,
    prompt: Annotated[str | None, typer.Option(help="internalised or full.")] = None,
    max_sessions: Annotated[int | None, typer.Option(min=1, help="Training sessions at most.")] = None,
    epochs: Annotated[float | None, typer.Option(min=0, help="Passes over the data.")] = None,
    data: DataOption = None,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a student version from the successful trajectories of one agent."""
    from . import processes

    settings = config.load(file, data=data)
    options = settings.distill(
        agent=agent, name=name, base=base, prompt=prompt, max_sessions=max_sessions, epochs=epochs
    )
    show(processes.distill(settings, options, err), as_json)
