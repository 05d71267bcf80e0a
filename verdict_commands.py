"""`tutelage pairs …`, `tutelage judge …`: looking at pairs of answers, and deciding about them (docs/comparison.md)."""

import getpass
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from .listings import DataOption, JsonOption, LimitOption, ask, show, tell

pairs = typer.Typer(no_args_is_help=True, help="Pairs: the student's answer beside the teacher's.")
judge = typer.Typer(no_args_is_help=True, help="The judge: what it decides, costs, and how good it is.")

PairArgument = Annotated[str, typer.Argument(help="Pair id, CALL:KIND:STUDENT, as `pairs list` shows it.")]
PatternOption = Annotated[str | None, typer.Option(help="Only this pattern: its id, or a name that only it has.")]
_COLUMNS = ("pair_id", "loss", "reason", "decided_by", "teacher", "student_action")


@pairs.command("list")
def list_pairs(
    pattern: PatternOption = None,
    only: Annotated[str, typer.Option(help="all, disagree, unsure, waiting, judged or human.")] = "disagree",
    student: Annotated[str | None, typer.Option(help="Only this student version.")] = None,
    before: Annotated[str | None, typer.Option(help="Pair id: only older ones.")] = None,
    limit: LimitOption = 50,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """The newest pairs, those with a loss unless --only says otherwise."""
    params = {"pattern": pattern, "only": only, "student": student, "before": before, "limit": limit}
    show(ask(data, "/api/pairs", **params), as_json, _COLUMNS)


@pairs.command("reviews")
def list_reviews(
    pattern: PatternOption = None, limit: LimitOption = 50, data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Pairs that the judge has accepted and a person is asked to look at."""
    show(ask(data, "/api/reviews", pattern=pattern, limit=limit), as_json, _COLUMNS)


@pairs.command("show")
def show_pair(pair: PairArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """One pair: the end of the conversation, both answers line by line, and every verdict."""
    found = ask(data, f"/api/pairs/{quote(pair, safe='')}")
    if as_json:
        show(found, as_json)
        return
    out = Console(soft_wrap=True, highlight=False, markup=False)
    for message in found["input"].get("messages", [])[-2:]:
        out.print(f"{message.get('role')}: {_text(message)}")
    out.print(f"\nLoss {found['loss']:g} ({found['reason']}), decided by {found['decided_by']}\n")
    rows = [{**line, "": "≠" if line["why"] else " "} for line in found["diff"]]
    show(rows, False, ("", "tool", "path", "compared_as", "teacher", "student", "why"))
    out.print("")
    show(found["verdicts"], False, ("source", "who", "verdict", "reason"))


@pairs.command("judge")
def judge_pair(
    pair: PairArgument,
    verdict: Annotated[str, typer.Argument(help="accept, reject, or withdraw what was said before.")],
    note: Annotated[str, typer.Option(help="Why.")] = "",
    who: Annotated[str, typer.Option(help="Who decides. Default: the name of the login.")] = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decide about one pair; your word beats the rules' and the judge's."""
    body = {"verdict": verdict, "note": note, "who": who or getpass.getuser()}
    found = tell(data, f"/api/pairs/{quote(pair, safe='')}/verdict", body)
    show({name: found[name] for name in ("pair_id", "loss", "reason", "decided_by")}, as_json)


@judge.command("show")
def show_judge(
    pattern: Annotated[str | None, typer.Argument(help="Show its two tests instead.")] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue, costs of today and error rates of the judge; or the tests of one pattern's judged students."""
    if pattern:
        found = ask(data, f"/api/judge/{quote(pattern, safe='')}")
        show(found, as_json, ("student", "kind", "crossed", "lacking", "flagged", "missed", "sessions_to_review"))
        return
    found = ask(data, "/api/judge")
    if as_json:
        show(found, as_json)
        return
    scores = found.pop("scores")
    show(found, False)
    show([_score(row) for row in scores], False, ("judge", "false accepts", "false rejects", "undecided"))


@judge.command("noise")
def show_noise(pattern: PatternOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """How far the teacher agrees with itself, and how the students compare with its second answer."""
    columns = ("pattern_id", "student", "sessions", "self_agreement", "low", "high", "noisy", "difference", "proven")
    show(ask(data, "/api/noise", pattern=pattern), as_json, columns)


def _score(row: dict[str, Any]) -> dict[str, Any]:
    def rate(name: str) -> str:
        one = row[name]
        return f"{one['errors']} of {one['n']} ({one['low']:.3f}–{one['high']:.3f})"

    return {
        "judge": row["judge"],
        "false accepts": rate("false_accepts"),
        "false rejects": rate("false_rejects"),
        "undecided": row["undecided"],
    }


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else str(message.get("tool_calls") or content or "")
