"""`tutelage distill`: training student versions."""

import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import config
from .listings import DataOption, JsonOption, show
from .serving.local import is_installed

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
    budget: Annotated[
        int | None, typer.Option(min=1, help="Find the smallest training set of at most so many sessions.")
    ] = None,
    bar: Annotated[float | None, typer.Option(min=0, max=1, help="With --budget: agreement that is enough.")] = None,
    data: DataOption = None,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train a student version from the successful trajectories of one agent."""
    from . import processes

    settings = config.load(file, data=data)
    options = settings.distill(
        agent=agent,
        name=name,
        base=base,
        prompt=prompt,
        max_sessions=max_sessions,
        epochs=epochs,
        budget=budget,
        bar=bar,
    )
    show(processes.distill(settings, options, err), as_json)


@distill.command("select")
def distill_select(
    bases: Annotated[list[str], typer.Argument(help="Base models.")],
    bar: Annotated[float | None, typer.Option(min=0, max=1, help="Agreement that is enough.")] = None,
    agent: Annotated[str | None, typer.Option(help="Agent or pattern. Default: the one with most sessions.")] = None,
    data: DataOption = None,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train from several base models, smallest first, until one is good enough; the others' versions are retired."""
    from . import processes

    settings = config.load(file, data=data)
    options = settings.distill(agent=agent, bar=bar)
    columns = ("base", "mb", "version", "agreement", "low", "high", "floor", "calls", "seconds", "result")
    show(processes.select(settings, options, bases, err), as_json, columns)


@distill.command("watch")
def distill_watch(
    once: Annotated[bool, typer.Option("--once", help="One look, and the run that it leads to.")] = False,
    data: DataOption = None,
    file: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train by itself whenever an agent has enough to learn from, in the windows and budget of [schedule]."""
    from . import processes
    from .autopilot import Autopilot, line, say
    from .proxy.admin_client import AdminClient

    settings = config.load(file, data=data)
    processes.require_training(is_installed)
    tell = say if as_json else lambda kind, what: err.print(line(kind, what), highlight=False, soft_wrap=True)
    folder, control = settings.data.prepare(), settings.control()
    watcher = Autopilot(processes.pilot(settings), tell, lambda: AdminClient.open(folder, control))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: watcher.stop.set())
    watcher.watch(once=once)
