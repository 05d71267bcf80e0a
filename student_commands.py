"""`tutelage students`: the versions that were trained, what they are made of, and what becomes of them."""

import typer

from .listings import DataOption, JsonOption, ask, show

students = typer.Typer(no_args_is_help=True, help="Student versions.")


@students.command("list")
def students_list(data: DataOption = None, as_json: JsonOption = False) -> None:
    """All student versions."""
    show(ask(data, "/api/students"), as_json, ("version", "status", "base", "agent_id", "sessions", "scores"))


@students.command("show")
def students_show(version: str, data: DataOption = None, as_json: JsonOption = False) -> None:
    """One student version with its data, config, scores and lineage."""
    show(ask(data, f"/api/students/{version}"), as_json)
