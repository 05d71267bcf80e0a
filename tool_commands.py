"""`tutelage tools …`: how calls of a pattern's tools are compared (docs/comparison.md)."""

import getpass
from typing import Annotated, Any
from urllib.parse import quote

import typer

from . import config
from .listings import DataOption, JsonOption, ask, show, tell
from .proxy.admin_client import AdminClient
from .traffic.errors import UnknownName

tools = typer.Typer(no_args_is_help=True, help="Tools: how calls of them are compared.")

PatternArgument = Annotated[str, typer.Argument(help="Pattern id, or a name that only one pattern has.")]
ToolArgument = Annotated[str, typer.Argument(help="The tool's name.")]
_COLUMNS = ("tool", "kind", "free_text", "ignore", "source", "reason")


@tools.command("list")
def list_tools(pattern: PatternArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """The rule of each tool, whose it is, and why."""
    show(ask(data, _path(pattern))["tools"], as_json, _COLUMNS)


@tools.command("show")
def show_tool(
    pattern: PatternArgument, tool: ToolArgument, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """One tool's rule, and every rule it ever had."""
    found = ask(data, _path(pattern))
    row = next((row for row in found["tools"] if row["tool"] == tool), None)
    if row is None:
        known = ", ".join(row["tool"] for row in found["tools"]) or "none"
        raise UnknownName(f"Pattern {pattern} has no tool {tool!r}. Its tools: {known}.")
    history = [one for one in found["history"] if one["tool"] == tool]
    if as_json:
        show({**row, "history": history}, as_json)
        return
    show(row, False)
    show(history, False, ("at", "source", "actor", "detail", "reason"))


@tools.command("set")
def set_tool(
    pattern: PatternArgument,
    tool: ToolArgument,
    kind: Annotated[str | None, typer.Option(help="read-only or write.")] = None,
    free_text: Annotated[
        str | None, typer.Option(help="Parameters compared as texts, with commas; '' for none.")
    ] = None,
    ignore: Annotated[str | None, typer.Option(help="Parameters left out, with commas; '' for none.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Take back what people said about the tool.")] = False,
    reason: Annotated[str, typer.Option(help="Kept with the rule.")] = "",
    who: Annotated[str, typer.Option(help="Who decides. Default: the name of the login.")] = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change one tool's rule; what is not named stays as it is."""
    chosen = config.load(data=data)
    with AdminClient.open(chosen.data, chosen.control()) as client:
        rows = {row["tool"]: row for row in client.get(_path(pattern))["tools"]}
        before = rows.get(tool, {})
        rule: dict[str, Any] | None = {
            "kind": kind or before.get("kind", "write"),
            "free_text": _names(free_text, before.get("free_text", [])),
            "ignore": _names(ignore, before.get("ignore", [])),
        }
        body = {"tools": {tool: None if reset else rule}, "who": who or getpass.getuser(), "reason": reason}
        found = client.put(_path(pattern), body)
    show(found["tools"], as_json, _COLUMNS)


@tools.command("guess")
def guess(pattern: PatternArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Guess again from the pattern's newest calls; what people said stays."""
    chosen = config.load(data=data)
    with AdminClient.open(chosen.data, chosen.control()) as client:
        found = client.post(f"{_path(pattern)}/guess", {"who": getpass.getuser()})
    show(found["tools"], as_json, _COLUMNS)


@tools.command("recompare")
def recompare(pattern: PatternArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Compare the pattern's stored pairs anew, under the rules of today; what people said stays."""
    show(tell(data, f"{_path(pattern)}/recompare", {"who": getpass.getuser()}), as_json)


def _path(pattern: str) -> str:
    return f"/api/patterns/{quote(pattern, safe='')}/tools"


def _names(given: str | None, before: list[str]) -> list[str]:
    return before if given is None else [name.strip() for name in given.split(",") if name.strip()]
