"""`tutelage patterns …` beyond the listing: looking into a pattern, and changing patterns (docs/patterns.md)."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from . import config
from .listings import DataOption, JsonOption, patterns, show
from .proxy.admin_client import AdminClient
from .traffic.errors import BadInput

PatternArgument = Annotated[str, typer.Argument(help="Pattern id, or a name that only one pattern has.")]
AgentArgument = Annotated[str, typer.Argument(help="Pattern id, agent id or name: the whole agent is meant.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Demote a student that serves a pattern concerned, instead of refusing.")
]


@patterns.command("show")
def show_pattern(pattern: PatternArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """One pattern: skeleton with the volatile parts marked, tools, examples, volume by day and cost."""
    with _client(data) as client:
        row = client.get(f"/api/patterns/{_quoted(pattern)}")
        details = client.get(f"/api/patterns/{_quoted(row['pattern_id'])}/details")
    if as_json:
        show({**row, **details}, as_json)
        return
    out = _console()
    out.print(f"{row['name']} v{row['version']}, {row['role']} turns  ({row['pattern_id']}, agent {row['agent_id']})")
    out.print(
        f"{row['calls']} calls in {row['sessions']} sessions; route: {row['route']['state']}; "
        f"spent {_money(row['dollars_spent'])}, saved {_money(row['dollars_saved'])}"
    )
    for label, ids in (("Made of", details["made_of"]), ("Out of use; its calls go to", details["replaced_by"])):
        if ids:
            out.print(f"{label} {', '.join(ids)}")
    out.print("\nSkeleton (~ differs from call to call):" if details["skeleton"] else "\nNo skeleton: any prompt.")
    for line in details["skeleton"]:
        out.print(f"  {'~' if line['volatile'] else ' '} {line['text']}")
    out.print("\nTools:" if details["tools"] else "\nNo tools.")
    for tool in details["tools"]:
        out.print(f"  {tool['name']}({', '.join(tool['arguments'])})  {tool['description']}")
    out.print("\nVolume by day (UTC):")
    show(details["days"], False, ("day", "teacher_calls", "student_calls", "prompt_tokens", "completion_tokens"))
    for example in details["examples"]:
        out.print(f"\nExample {example['call_id']}, {example['model']}: {example['action']}")
        out.print(f"  > {example['last_message']}")
        out.print(f"  < {example['answer']}")


@patterns.command("rename")
def rename(
    pattern: AgentArgument,
    name: Annotated[str, typer.Argument(help="The new name.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Call a pattern, in all its versions, otherwise."""
    _change(data, as_json, f"/api/patterns/{_quoted(pattern)}/rename", {"name": name})


@patterns.command("merge")
def merge(
    pattern: AgentArgument,
    others: Annotated[list[str], typer.Argument(help="What to merge into it.")],
    force: ForceOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make one agent of several: a new version with the first one's name and without evidence."""
    _change(data, as_json, f"/api/patterns/{_quoted(pattern)}/merge", {"others": others, "force": force})


@patterns.command("split")
def split(
    pattern: AgentArgument,
    by: Annotated[str | None, typer.Option("--by", help="line (of the system prompt), role, tools or model.")] = None,
    value: Annotated[str | None, typer.Option("--value", help="The line, role or model, or the tools' hash.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the part that has it. Default: the same.")] = None,
    force: ForceOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make two agents of one, by a fact that differs between its calls; without --by, list such facts."""
    path = f"/api/patterns/{_quoted(pattern)}"
    if by is None and value is None:
        with _client(data) as client:
            show(client.get(f"{path}/differences"), as_json, ("by", "value", "calls", "of"))
        return
    if by is None or value is None:
        raise BadInput("Give both --by and --value, or neither for a list of what the calls differ in.")
    _change(data, as_json, f"{path}/split", {"by": by, "value": value, "name": name or "", "force": force})


@patterns.command("undo")
def undo(force: ForceOption = False, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Take back the newest rename, merge or split that is in force."""
    _change(data, as_json, "/api/pattern-edits/undo", {"force": force})


@patterns.command("history")
def history(data: DataOption = None, as_json: JsonOption = False) -> None:
    """All edits and undos, the newest first."""
    with _client(data) as client:
        rows = client.get("/api/pattern-edits")
    if not as_json:
        rows = [{**row, "at": _time(row["at"])} for row in rows]
    show(rows, as_json, ("seq", "at", "actor", "kind", "in_force", "detail"))


@patterns.command("graph")
def graph(
    pattern: AgentArgument,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Newest runs to look at.")] = 1_000,
    dot: Annotated[bool, typer.Option("--dot", help="Graphviz's language on stdout.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """The step graph of a pattern's agent: which action follows which, how often, at what cost; where work repeats."""
    with _client(data) as client:
        found = client.get(f"/api/patterns/{_quoted(pattern)}/graph", limit=limit)
    if as_json:
        show(found, as_json)
    elif dot:
        print(_drawn(found))
    else:
        _show_graph(found)


@patterns.command("opportunities")
def opportunities(
    days: Annotated[float, typer.Option("--days", min=1, max=3650, help="Days back to look at.")] = 30.0,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """What teaching which pattern next would save: volume, tokens, repetitiveness and price."""
    with _client(data) as client:
        found = client.get("/api/opportunities", days=days)
    if as_json:
        show(found, as_json)
        return
    show([_opportunity(row) for row in found["opportunities"]], False)
    _console(stderr=True).print(
        f"Ranked by {found['ranked_by']}, at the lower end of the 95 % interval. Prices: [prices] in the settings, "
        f"else LiteLLM's table of {found['prices_from']}. How repetitive is measured: docs/patterns.md.",
        soft_wrap=True,
    )


def _client(data: Path | None) -> AdminClient:
    """With the options of `serve`, for without a control plane the prices in them are needed here."""
    chosen = config.load(data=data)
    return AdminClient.open(chosen.data, chosen.control())


def _change(data: Path | None, as_json: bool, path: str, body: dict[str, Any]) -> None:
    with _client(data) as client:
        show(client.post(path, {**body, "actor": "cli"}), as_json)


def _show_graph(found: dict[str, Any]) -> None:
    out = _console()
    out.print(f"{found['name']} ({found['agent_id']}): {found['calls']} steps in {found['runs']} runs")
    out.print("\nActions")
    rows = [{**node, "repeated in its run": _share(node["repeated"])} for node in found["nodes"]]
    columns = ("action", "calls", "runs", "prompt_tokens", "completion_tokens", "dollars", "repeated in its run")
    show(rows, False, columns)
    out.print("\nWhat follows what")
    rows = [{**edge, "share": _share(edge["share"])} for edge in found["edges"]]
    show(rows, False, ("before", "after", "share", "prompt_tokens", "completion_tokens", "dollars"))
    out.print(f"\nMost frequent of {found['different_paths']} different paths")
    for path in found["paths"]:
        out.print(f"  {_share(path['share'])}: {' → '.join(path['actions'])}")


def _drawn(found: dict[str, Any]) -> str:
    import msgspec

    fields = {name: value for name, value in found.items() if name not in ("agent_id", "name")}
    # Here, because the store comes with it, which no other command of these needs.
    from .traffic.step_graph import StepGraph, as_dot

    return as_dot(msgspec.convert(fields, StepGraph))


def _opportunity(row: dict[str, Any]) -> dict[str, Any]:
    tokens, dollars = row["tokens_saved"], row["dollars_saved"]
    return {
        "pattern_id": row["pattern_id"],
        "name": f"{row['name']} v{row['version']}",
        "role": row["role"],
        "state": row["state"],
        "calls": f"{row['calls']} in {row['days']:.3g} d",
        "top action": row["top_action"],
        "repetitive": _share(row["repetitive"]),
        "tokens a month": f"{tokens['expected']:.0f} ({tokens['low']:.0f}–{tokens['high']:.0f})",
        "dollars a month": None
        if dollars is None
        else f"{dollars['expected']:.2f} ({dollars['low']:.2f}–{dollars['high']:.2f})",
    }


def _share(share: dict[str, Any]) -> str:
    """`85 % of 40 (71–93)`: never a percentage without its n and interval."""
    if share["share"] is None:
        return "no data"
    return f"{share['share']:.0%} of {share['n']} ({100 * share['low']:.0f}–{100 * share['high']:.0f})"


def _money(dollars: float | None) -> str:
    return "unknown (no price)" if dollars is None else f"${dollars:.2f}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _console(stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, markup=False)


def _quoted(text: str) -> str:
    if not re.search(r"\S", text):
        raise BadInput("Expected a pattern's id or name, got nothing. List them with: tutelage patterns list")
    return quote(text, safe="")
