"""A whole distillation run: from an export of sessions to a registered student version.

    curate → scrub → rows → audit → train → evaluate → register

The run works in its own folder `DATA/runs/ID`. A version appears below `DATA/students` only at the very end, in one
rename followed by its manifest; a run that fails or is killed leaves nothing there.
"""

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..serving.render import RENDER_VERSION
from ..serving.student import Student
from ..traffic.errors import BadInput
from ..traffic.layout import DataDir, publish_json
from ..traffic.students import ADAPTER, ADAPTER_GGUF, LINEAGE, Manifest, PromptSpec, StudentRegister, adapter_digest
from .audit import Auditor, RoleCount
from .curate import Curated, Export, Trajectory, load
from .detect import Detector, presidio_detector
from .evaluate import Scores, evaluate
from .options import DistillOptions
from .parts import BaseParts, Parts
from .prepare import choose, clean
from .progress import Progress, Report, RunLog, new_run_id, silent
from .prompt_form import learnt_form
from .rows import Row, RowSet, rows_of
from .train import Trained, train


@dataclass
class _Run:
    """What a run has found out so far."""

    options: DistillOptions
    data: DataDir
    log: RunLog
    notes: list[str] = field(default_factory=list)
    """What a person should know, in sentences; goes into the report."""
    seconds: dict[str, float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    """Personal values exchanged, by kind."""

    @contextmanager
    def stage(self, name: str, message: str) -> Iterator[None]:
        """Time a stage and report its begin and end."""
        self.log(Progress(name, 0.0, message))
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 2)
        self.log(Progress(name, 1.0, f"{self.seconds[name]:.1f} s"))


def run(
    options: DistillOptions,
    export: Path,
    report: Report = silent,
    *,
    parts: Parts | None = None,
    detector: tuple[Detector, bool] | None = None,
) -> Manifest:
    """Distil one agent's export into a registered version; its status is `candidate` or `rejected`.

    `parts` and `detector` (with whether it knows people's names) are replaced in tests. Raises BadInput when there is
    too little to learn from, when personal data is left, or when the mask audit refuses."""
    if options.teacher_distillable == "no":
        raise BadInput(
            "Training on this teacher's answers is switched off (teacher_distillable = no). If its terms allow it, "
            "set teacher_distillable = yes."
        )
    data = DataDir(Path(options.data)).prepare()
    source = load(export)
    name = options.name or slug(source.name)
    log = RunLog(data, new_run_id(name, time.time()), report)
    try:
        manifest = _distil(_Run(options, data, log), source, name, parts, detector)
    except BaseException as error:
        # Also for a signal: whoever follows the run must see that it is over.
        log(Progress("failed", 1.0, str(error) or type(error).__name__))
        raise
    finally:
        shutil.rmtree(log.folder / "draft", ignore_errors=True)
        log.close()
    return manifest


def _distil(
    work: _Run, source: Export, name: str, parts: Parts | None, detector: tuple[Detector, bool] | None
) -> Manifest:
    options = work.options
    if options.teacher_distillable == "unknown":
        work.notes.append("Nobody has said whether the teacher's terms allow training on its answers.")
    spec = PromptSpec(mode=options.prompt, skeleton=source.skeleton, version=RENDER_VERSION)
    with work.stage("curate", f"{len(source.trajectories)} sessions of {source.name}"):
        chosen = choose(options, source, spec)
    with work.stage("scrub", f"{len(chosen.train) + len(chosen.held_out)} sessions"):
        cleaned = clean(chosen, detector or presidio_detector(options.allow), work.data, work.log)
        chosen = cleaned.chosen
        work.notes.extend(cleaned.notes)
        work.counts.update(cleaned.counts)
    parts = parts or BaseParts(options.base, options.threads)
    with work.stage("rows", "tokenising"):
        # From the training side alone: the examination must not choose what the student sees.
        spec = learnt_form(chosen.train, spec)
        rows = rows_of(chosen.train, spec, parts.tokenise, options.max_length)
        tokens = sum(len(row.input_ids) for row in rows.rows)
    with work.stage("audit", f"{len(rows.rows)} rows, {tokens} tokens"):
        table = _audit(parts, spec, rows, chosen.train)
    draft = work.log.folder / "draft"
    draft.mkdir()
    with work.stage("train", f"{len(rows.rows)} rows from {parts.name}"):
        trained = train(rows.rows, parts.folder, draft / ADAPTER, options, work.log)
        parts.convert(draft / ADAPTER, draft / ADAPTER_GGUF)
    version = f"{name}@{adapter_digest(draft / ADAPTER)}"
    with work.stage("evaluate", f"{len(chosen.held_out)} held-out sessions"):
        scores = _evaluate(work, parts, spec, version, draft, chosen)
    manifest = _manifest(work, source, parts, spec, version, chosen, rows, scores)
    return _register(work, draft, manifest, rows, table, trained)


def _audit(parts: Parts, spec: PromptSpec, rows: RowSet, train_side: list[Trajectory]) -> list[RoleCount]:
    engine = parts.engine({})
    try:
        # The engine's own tokenizer: ids that it would read otherwise are found here, not in production.
        return Auditor(spec, engine.tokenise, parts.decode).audit(rows.rows, train_side, rows.too_long)
    finally:
        engine.close()


def _evaluate(work: _Run, parts: Parts, spec: PromptSpec, version: str, draft: Path, chosen: Curated) -> Scores:
    engine = parts.engine({version: draft / ADAPTER_GGUF})
    try:
        return evaluate(
            Student(spec, engine, version),
            chosen.held_out,
            chosen.train,
            base=Student(spec, engine),
            base_sessions=work.options.base_sessions,
            progress=lambda fraction: work.log(Progress("evaluate", fraction)),
        )
    finally:
        engine.close()


def _manifest(
    work: _Run,
    source: Export,
    parts: Parts,
    spec: PromptSpec,
    version: str,
    chosen: Curated,
    rows: RowSet,
    scores: Scores,
) -> Manifest:
    # As JSON gives it back: a manifest equals its copy on disk.
    config = json.loads(json.dumps(asdict(work.options)))
    del config["data"], config["admin_url"]
    reason = (
        "" if scores.beats_floor else f"agreement {scores.agreement:.3f} does not beat the floor {scores.floor:.3f}"
    )
    return Manifest(
        version=version,
        name=version.partition("@")[0],
        status="rejected" if reason else "candidate",
        created_at=time.time(),
        agent_id=source.agent_id,
        pattern_ids=source.pattern_ids,
        base=parts.name,
        base_digest=parts.digest,
        prompt=spec,
        snapshot_at=source.snapshot_at,
        data_digest=source.digest,
        sessions={"train": len(chosen.train), "held_out": len(chosen.held_out)},
        rows={"kept": len(rows.rows), **chosen.dropped, **({"too_long": rows.too_long} if rows.too_long else {})},
        config=config,
        scores=scores.to_json(),
        reason=reason,
        seconds=dict(work.seconds),
    )


def _register(
    work: _Run, draft: Path, manifest: Manifest, rows: RowSet, table: list[RoleCount], trained: Trained
) -> Manifest:
    work.log(Progress("register", 0.0, manifest.version))
    report = {
        "run": work.log.run_id,
        "version": manifest.version,
        "status": manifest.status,
        "reason": manifest.reason,
        "notes": work.notes,
        "sessions": manifest.sessions,
        "rows": manifest.rows,
        "tokens": [asdict(count) for count in table],
        "personal_values": dict(work.counts),
        "training": {**asdict(trained), "adapter": ADAPTER},
        "scores": manifest.scores,
        "seconds": manifest.seconds,
    }
    (draft / LINEAGE).write_text("".join(map(_lineage, rows.rows)), encoding="utf-8")
    publish_json(draft / "report.json", report)
    StudentRegister(work.data).publish(draft, manifest)
    work.log.finish(report)
    work.log(Progress("finished", 1.0, f"{manifest.version} {manifest.status} {manifest.reason}".strip()))
    return manifest


def _lineage(row: Row) -> str:
    line = {"row": row.row_id, "trajectory_id": row.trajectory_id, "call_ids": list(row.call_ids)}
    return json.dumps(line) + "\n"


def slug(name: str) -> str:
    """A name that can stand in a path and in a `model` field: lower case, digits and hyphens, 40 characters at most."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "student"
