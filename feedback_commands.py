"""`tutelage feedback …`: what was said about runs. Like every listing, each command asks the admin API."""

import json
from typing import Annotated, Any

import typer

from .listings import DataOption, JsonOption, LimitOption, ask, show, tell

feedback = typer.Typer(no_args_is_help=True, help="Feedback: what agents, people and verifiers say about runs.")

_COLUMNS = ("at", "metric", "value", "source", "kind", "target", "state", "trajectory_id")
_VERIFIER_COLUMNS = ("verifier", "version", "runs", "passed", "failed", "errors", "last_error", "problem")


@feedback.command("list")
def list_feedback(
    data: DataOption = None,
    as_json: JsonOption = False,
    limit: LimitOption = 50,
    trajectory: Annotated[str | None, typer.Option(help="Only values about this run and its calls.")] = None,
    metric: Annotated[str | None, typer.Option(help="Only values of this metric.")] = None,
) -> None:
    """The newest values, and whether what they are about was found."""
    rows = ask(data, "/api/feedback", limit=limit, trajectory=trajectory, metric=metric)
    show(rows, as_json, _COLUMNS)


@feedback.command("add")
def add(
    metric: Annotated[str, typer.Argument(help="Such as success; see [outcomes] success_metrics.")],
    value: Annotated[str, typer.Argument(help="true, false, a number, or a text.")],
    call: Annotated[str | None, typer.Option(help="Call it is about: its id, or the id in the answer's body.")] = None,
    trajectory: Annotated[str | None, typer.Option(help="Run it is about.")] = None,
    last_of: Annotated[str | None, typer.Option(help="About the newest call of this run or session key.")] = None,
    source: Annotated[str, typer.Option(help="Who says so.")] = "cli",
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say something about a call or a run. Exactly one of --call, --trajectory and --last-of."""
    targets = {"call_id": call, "trajectory": trajectory, "last_of": last_of}
    body = {"metric": metric, "value": _value(value), "source": source, "comment": comment, **targets}
    show(tell(data, "/api/feedback", body), as_json)


@feedback.command("verifiers")
def verifiers(data: DataOption = None, as_json: JsonOption = False) -> None:
    """The verifiers: runs judged, errors, and what keeps one from working."""
    show(ask(data, "/api/verifiers"), as_json, _VERIFIER_COLUMNS)


def _value(text: str) -> Any:
    """A JSON boolean or number as such, everything else as the text it is."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    return found if isinstance(found, bool | int | float) else text
