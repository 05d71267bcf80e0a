"""`tutelage serving`: the student server by itself."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from . import config
from .listings import DataOption

Base = Annotated[
    list[str] | None,
    typer.Option(help="A base model to serve as it is: smollm2-135m, a .gguf file, OWNER/REPOSITORY. Repeatable."),
]


def serving(
    base: Base = None,
    data: DataOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: 8402.")] = None,
    file: Annotated[Path | None, typer.Option("--config", help="Config file. Default: ./tutelage.toml if any.")] = None,
) -> None:
    """Start the student server alone: the students of the data folder and, with --base, untrained models."""
    from .serving.__main__ import serve
    from .traffic import logs

    logs.configure()
    options = config.load(file, data=data).serving()
    changed = {"bases": tuple(base or ()) or None, "host": host, "port": port}
    serve(replace(options, **{name: value for name, value in changed.items() if value is not None}))
