"""`tutelage patterns intents`: what the sessions of one pattern are about (docs/intents.md)."""

import time
from typing import Annotated, Any
from urllib.parse import quote

import typer

from . import config
from .listings import DataOption, JsonOption, show
from .proxy.admin_client import AdminClient
from .traffic.errors import BadInput
from .traffic.layout import DataDir

_COLUMNS = ("intent_id", "name", "sessions", "share", "examples")


def add_intents(patterns: typer.Typer) -> None:
    """Add the command to `tutelage patterns`."""
    patterns.command("intents")(intents)


def intents(
    pattern: Annotated[str, typer.Argument(help="Pattern id or name.")],
    find: Annotated[bool, typer.Option("--find", help="Look for them anew, with an embedding model.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Groups of sessions that were asked for like things; found offline with --find, then kept."""
    folder = config.load(data=data).data
    path = f"/api/patterns/{quote(pattern, safe='')}"
    with AdminClient.open(folder) as client:
        if find:
            _find(folder, client.get(f"{path}/openings"))
        rows = client.get(f"{path}/intents")
    if as_json:
        return show(rows, True)
    # A table has room for one example.
    return show([{**row, "examples": (row["examples"] or [None])[0]} for row in rows], False, _COLUMNS)


def _find(folder: DataDir, given: dict[str, Any]) -> None:
    from .distill.intents import find_intents, minilm
    from .traffic.intents import Opening, read_book, write_book

    pattern_id = given["pattern_id"]
    openings = [Opening(**item) for item in given["openings"]]
    if not openings:
        raise BadInput(
            f"Pattern {pattern_id} has no sessions with a user message yet. Let traffic through, and try again."
        )
    known = read_book(folder, pattern_id)
    write_book(folder, find_intents(pattern_id, openings, minilm(), known=known, now=time.time()))
