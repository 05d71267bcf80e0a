"""`tutelage students`: the versions that were trained, what they are made of, and what becomes of them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import config
from .listings import DataOption, JsonOption, ask, show, tell
from .traffic.errors import BadInput

students = typer.Typer(no_args_is_help=True, help="Student versions.")
VersionArgument = Annotated[str, typer.Argument(help="NAME@DIGEST.")]
LISTED = ("version", "status", "base", "sessions", "agreement", "interval", "floor", "previous", "reason")


@students.command("list")
def students_list(data: DataOption = None, as_json: JsonOption = False) -> None:
    """All student versions with their examination."""
    found = ask(data, "/api/students")
    show(found if as_json else [_line(one) for one in found], as_json, LISTED)


def _line(manifest: dict[str, Any]) -> dict[str, Any]:
    scores, sessions = manifest["scores"], manifest["sessions"]
    interval = f"{scores['low']:.3f} to {scores['high']:.3f}, n = {scores['sessions']}" if scores else None
    return manifest | {
        "sessions": f"{sessions.get('train', 0)} + {sessions.get('held_out', 0)}",
        "agreement": scores.get("agreement"),
        "interval": interval,
        "floor": scores.get("floor"),
        "previous": manifest["previous"] or None,
        "reason": manifest["reason"] or None,
    }


@students.command("show")
def students_show(version: VersionArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """One student version with its data, config, scores and lineage."""
    show(ask(data, f"/api/students/{version}"), as_json)


@students.command("compare")
def students_compare(
    version: VersionArgument,
    other: Annotated[str, typer.Argument(help="The version to compare it with.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Two versions side by side: data, settings and scores, where they differ."""
    one, two = (_flat(ask(data, f"/api/students/{name}")) for name in (version, other))
    names = [name for name in dict.fromkeys([*one, *two]) if one.get(name) != two.get(name)]
    show([{"": name, version: one.get(name), other: two.get(name)} for name in names], as_json, ("", version, other))


_TOLD = ("status", "base", "base_digest", "kind", "data_digest", "sessions", "rows", "prompt", "config", "seconds")
_SCORED = ("agreement", "low", "high", "calls", "sessions", "floor", "base")


def _flat(manifest: dict[str, Any]) -> dict[str, Any]:
    """The facts of a manifest that a person would compare, each under a name of its own."""
    found: dict[str, Any] = {}
    for name in _TOLD:
        value = manifest[name]
        found |= (
            {f"{name}.{inner}": item for inner, item in value.items()} if isinstance(value, dict) else {name: value}
        )
    scores = manifest["scores"]
    found |= {f"scores.{name}": scores.get(name) for name in _SCORED}
    found |= {f"scores.{name}": part["share"] for name, part in scores.get("measures", {}).items()}
    for served in scores.get("served", []):
        found[f"scores.share served at risk {served['limit']}"] = served["share"]["share"]
    forgetting = scores.get("forgetting") or {}
    return found | {"scores.forgetting": forgetting.get("mean_kl")}


@students.command("export")
def students_export(
    version: VersionArgument,
    target: Annotated[Path, typer.Argument(help="Folder to write to; it must not exist.")],
    merged: Annotated[bool, typer.Option("--merged", help="Weights for transformers, adapter worked in.")] = False,
    gguf: Annotated[bool, typer.Option("--gguf", help="One file for llama.cpp and Ollama.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a version for use elsewhere, once it is proved to answer as the student does."""
    if merged == gguf:
        raise BadInput("Say which form: --merged or --gguf.")
    from .distill.student_export import export
    from .traffic.students import StudentRegister

    found = export(StudentRegister(config.load(data=data).data), version, target, "merged" if merged else "gguf")
    show(
        {"path": str(found.path), "form": found.form, "prompts": found.checked, "difference": found.difference}, as_json
    )


@students.command("delete")
def students_delete(
    version: VersionArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Without asking.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a version and its files for good. One that a route uses is refused: retire it first."""
    if not yes:
        typer.confirm(f"Delete {version} for good?", abort=True, err=True)
    show(tell(data, f"/api/students/{version}/delete", {"actor": "cli"}), as_json)


@students.command("retire")
def students_retire(
    version: VersionArgument,
    reason: Annotated[str, typer.Option("--reason", help="Kept with the version.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a version out of use: its patterns go back to the teacher, and it is never loaded again."""
    show(_line(tell(data, f"/api/students/{version}/retire", {"reason": reason, "actor": "cli"})), as_json)


@students.command("lineage")
def students_lineage(
    name: Annotated[str, typer.Argument(help="Id of a call or a trajectory.")],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Which versions learnt from a call or a trajectory: what an erasure must also retire and delete."""
    found = ask(data, f"/api/lineage/{name}")
    show(found if as_json else found["versions"], as_json, ("version", "status", "rows", "calls"))
