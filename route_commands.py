"""`tutelage routes`: who answers which pattern, why, and an operator's words."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .listings import DataOption, JsonOption, ask, show, tell

routes = typer.Typer(no_args_is_help=True, help="Routes: who answers which pattern, and why.")
ReasonOption = Annotated[str, typer.Option("--reason", help="Kept with the change.")]
PatternArgument = Annotated[str, typer.Argument(help="Pattern id or name.")]
EverythingArgument = Annotated[str, typer.Argument(help="Pattern id or name; 'all' is the big switch.")]
StudentOption = Annotated[str, typer.Option("--student", help="Version. Default: the one that has the pattern.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Beyond the evidence; it stays marked until that catches up.")
]
LISTED = ("pattern_id", "name", "state", "share", "student", "sessions", "risk", "low", "high", "expected", "missing")


@routes.command("list")
def routes_list(data: DataOption = None, as_json: JsonOption = False) -> None:
    """State, share and risk of every pattern, and the sessions still expected for its next proof."""
    show(ask(data, "/api/routes"), as_json, LISTED)


@routes.command("explain")
def routes_explain(pattern: PatternArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Why a pattern is where it is, and what the next step needs."""
    found = ask(data, f"/api/routes/{pattern}")
    if as_json:
        show(found, as_json)
        return
    changes = found.pop("transitions")
    others = found.pop("other_versions")
    show(found, as_json)
    for title, rows, columns in (
        ("Other versions", others, ("student", "k", "state", "n", "risk", "next")),
        ("Changes, newest first", changes, ("at", "student", "before", "after", "share", "reason", "actor", "forced")),
    ):
        if rows:
            print(f"\n{title}")
            show(rows, as_json, columns)


@routes.command("replay")
def routes_replay(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Prove that the event log gives the states, evidence and routes in force; exit code 1 when it does not."""
    found = ask(data, "/api/replay")
    if as_json:
        show(found, as_json)
    else:
        for difference in found["differences"]:
            print(difference)
        print(
            f"{'equal' if found['equal'] else 'unequal'}: {found['machines']} student versions on patterns from "
            f"{found['events']} events; {found['transitions']} changes, {found['reproduced']} of them decided again "
            "from the evidence kept with them"
        )
    if not found["equal"]:
        raise typer.Exit(1)


def _say(action: str, pattern: str, body: dict[str, Any], data: Path | None, as_json: bool) -> None:
    path = f"/api/{action}" if pattern == "all" else f"/api/routes/{pattern}/{action}"
    show(tell(data, path, {**body, "actor": "cli"}), as_json)


@routes.command("promote")
def routes_promote(
    pattern: PatternArgument,
    reason: ReasonOption = "",
    student: StudentOption = "",
    force: ForceOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """One step up: from shadow to canary, from canary to live."""
    _say("promote", pattern, {"reason": reason, "student": student, "force": force}, data, as_json)


@routes.command("share")
def routes_share(
    pattern: PatternArgument,
    percent: Annotated[float, typer.Argument(help="Percent of its sessions, 1 to 80.")],
    reason: ReasonOption = "",
    student: StudentOption = "",
    force: ForceOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a student this share of a pattern, all of it audited, and keep it there until `resume`."""
    body = {"reason": reason, "student": student, "force": force, "share": percent / 100}
    _say("share", pattern, body, data, as_json)


@routes.command("demote")
def routes_demote(
    pattern: PatternArgument,
    reason: ReasonOption = "",
    student: StudentOption = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take the pattern from a student; it comes back only by `resume`, in a new trial."""
    _say("demote", pattern, {"reason": reason, "student": student}, data, as_json)


@routes.command("hold")
def routes_hold(
    pattern: PatternArgument,
    reason: ReasonOption = "",
    student: StudentOption = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """No promotions until `resume`; demotions go on."""
    _say("hold", pattern, {"reason": reason, "student": student}, data, as_json)


@routes.command("pin")
def routes_pin(
    pattern: PatternArgument,
    version: Annotated[str, typer.Argument(help="Student version that is to have the pattern.")],
    reason: ReasonOption = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let one version have the pattern, whatever others prove."""
    _say("pin", pattern, {"reason": reason, "student": version}, data, as_json)


@routes.command("unpin")
def routes_unpin(
    pattern: PatternArgument, reason: ReasonOption = "", data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Let the newest version that has proven itself have the pattern again."""
    _say("unpin", pattern, {"reason": reason}, data, as_json)


@routes.command("off")
def routes_off(
    pattern: EverythingArgument, reason: ReasonOption = "", data: DataOption = None, as_json: JsonOption = False
) -> None:
    """Send a pattern back to the teacher, at once and until it is resumed."""
    _say("off", pattern, {"reason": reason}, data, as_json)


@routes.command("resume")
@routes.command("on", hidden=True)
def routes_resume(
    pattern: EverythingArgument,
    reason: ReasonOption = "",
    student: StudentOption = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take part again: where it was before `off` or `hold`, or in a new trial after a fall."""
    everything = pattern == "all"
    body = {"reason": reason} if everything else {"reason": reason, "student": student}
    _say("on" if everything else "resume", pattern, body, data, as_json)
