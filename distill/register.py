"""The last stage: the manifest, the report, the lineage and the plots beside the weights, and the version is published.

Everything stands in the draft folder before it is moved to its place; the manifest comes last.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..traffic.layout import publish_json
from ..traffic.students import ADAPTER, LINEAGE, Manifest, PromptSpec, StudentRegister
from .audit import RoleCount
from .curate import Curated, Export
from .curve import Point
from .examine import Examined
from .measures import Measure
from .parts import Parts
from .plots import Line, chart, loss_chart
from .progress import Progress
from .rehearsal import PREFIX
from .rows import Row, RowSet
from .train import Trained
from .work import Work


@dataclass(frozen=True)
class Attempt:
    """The training whose weights are taken."""

    chosen: Curated
    rows: RowSet
    audit: list[RoleCount]
    trained: Trained
    curve: Sequence[Point]
    """This attempt and those before it, on fewer sessions; empty without a budget."""


@dataclass(frozen=True)
class Made:
    """All that a run has made."""

    version: str
    source: Export
    parts: Parts
    spec: PromptSpec
    attempt: Attempt
    examined: Examined
    previous: str
    """The version that it had to beat; empty without one."""


def register(work: Work, made: Made) -> Manifest:
    """Publish the draft as a version."""
    work.log(Progress("register", 0.0, made.version))
    draft = work.draft
    plots = _draw(draft, made)
    manifest = _manifest(work, made, plots)
    report = _report(work, made, manifest)
    _write_lineage(draft / LINEAGE, made.attempt.rows.rows)
    publish_json(draft / "report.json", report)
    StudentRegister(work.data).publish(draft, manifest)
    work.log.finish(report)
    work.log(Progress("finished", 1.0, f"{manifest.version} {manifest.status} {manifest.reason}".strip()))
    return manifest


def _manifest(work: Work, made: Made, plots: list[str]) -> Manifest:
    # As JSON gives it back: a manifest equals its copy on disk.
    config = json.loads(json.dumps(asdict(work.options)))
    # What is always exchanged may be personal itself, and a manifest travels with its version.
    del config["data"], config["admin_url"], config["scrub"]["deny"]
    objections = made.examined.objections(made.previous, work.options.asked_for)
    attempt = made.attempt
    rows = {"kept": len(attempt.rows.rows), **attempt.chosen.dropped}
    return Manifest(
        version=made.version,
        name=made.version.partition("@")[0],
        status="rejected" if objections else "candidate",
        created_at=time.time(),
        agent_id=made.source.agent_id,
        pattern_ids=made.source.pattern_ids,
        base=made.parts.name,
        base_digest=made.parts.digest,
        prompt=made.spec,
        snapshot_at=made.source.snapshot_at,
        data_digest=made.source.digest,
        sessions={"train": len(attempt.chosen.train), "held_out": len(attempt.chosen.held_out)},
        rows=rows | ({"too_long": attempt.rows.too_long} if attempt.rows.too_long else {}),
        config=config,
        scores=_scores(made),
        reason="; ".join(objections),
        seconds=dict(work.seconds),
        kind=attempt.trained.kind,
        previous=made.previous,
        calibration=made.examined.calibration,
        plots=plots,
    )


def _draw(folder: Path, made: Made) -> list[str]:
    """The drawings of a version; their file names."""
    trained, examined, curve = made.attempt.trained, made.examined, made.attempt.curve
    drawn = {"loss": loss_chart(trained.losses, trained.watched_losses)}
    if examined.epochs:
        last = (len(examined.epochs) + 1, examined.scores.whole)
        points = [*((one.epoch, one.agreement) for one in examined.epochs), last]
        drawn["epochs"] = _agreement_chart("Agreement on held-out sessions", "epoch", points, examined.scores.floor)
    if curve:
        points = [(point.sessions, point.agreement) for point in curve]
        drawn["curve"] = _agreement_chart("Learning curve", "training sessions", points, examined.scores.floor)
    if examined.calibration:
        line = Line("probability of being right", examined.calibration.knots, dots=True)
        drawn["calibration"] = chart("Calibration of the score", [line], "mean log-probability", "probability")
    for name, text in drawn.items():
        (folder / f"{name}.svg").write_text(text, encoding="utf-8")
    return sorted(f"{name}.svg" for name in drawn)


def _agreement_chart(title: str, x_name: str, points: Sequence[tuple[int, Measure]], floor: float) -> str:
    line = Line(
        "agreement",
        [(float(x), measured.share or 0.0) for x, measured in points],
        [measured.low for _, measured in points],
        [measured.high for _, measured in points],
        dots=True,
    )
    return chart(title, [line], x_name, "agreement (bar: floor without a model)", bar=floor)


def _scores(made: Made) -> dict[str, Any]:
    curve = {"curve": msgspec.to_builtins(list(made.attempt.curve))} if made.attempt.curve else {}
    return made.examined.to_json() | curve


def _report(work: Work, made: Made, manifest: Manifest) -> dict[str, Any]:
    return {
        "run": work.log.run_id,
        "version": manifest.version,
        "status": manifest.status,
        "reason": manifest.reason,
        "notes": work.notes,
        "sessions": manifest.sessions,
        "rows": manifest.rows,
        "tokens": [asdict(count) for count in made.attempt.audit],
        "personal_values": dict(work.counts),
        "personal_fields": work.fields,
        "curated": work.curated,
        "training": {**asdict(made.attempt.trained), "adapter": ADAPTER},
        "scores": manifest.scores,
        "seconds": manifest.seconds,
    }


def _write_lineage(path: Path, rows: Sequence[Row]) -> None:
    lines = (
        json.dumps({"row": row.row_id, "trajectory_id": row.trajectory_id, "call_ids": list(row.call_ids)})
        for row in rows
        if not row.trajectory_id.startswith(PREFIX)
    )
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
