"""A whole distillation run: from an export of sessions to a registered student version.

    curate → scrub → rows → audit → train → evaluate → register

The run works in its own folder `DATA/runs/ID`. A version appears below `DATA/students` only at the very end, in one
rename followed by its manifest; a run that fails or is killed leaves nothing there. What a stopped or killed run leaves
in its own folder is its checkpoints: the same run, started again, goes on from them.
"""

import re
import shutil
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ..serving.render import RENDER_VERSION, TURN_END
from ..serving.threads import quiet_threads
from ..traffic.errors import BadInput
from ..traffic.layout import DataDir
from ..traffic.run_lock import alive, is_alive
from ..traffic.students import ADAPTER, Manifest, PromptSpec, StudentRegister, adapter_digest
from .audit import Auditor, RoleCount, shown, table_of
from .augment import augmented
from .balance import balanced_rows
from .canaries import plant
from .contrast import write_contrast
from .curate import Curated, Export, load
from .curve import Point, parts_of, reached, sizes
from .detect import Detector, presidio_detector
from .examine import Examiner, convert
from .options import DistillOptions
from .parts import BaseParts, Parts
from .prepare import choose, clean, unknown_terms
from .progress import Progress, Report, RunLog, free_run_id, silent
from .prompt_form import learnt_form
from .register import Attempt, Made, register
from .rehearsal import rehearsal
from .rows import Row, RowSet, rows_of
from .train import Trained, train
from .work import Work, explained


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
    too little to learn from, when personal data is left, when the mask audit refuses, or when the disk is full."""
    if options.teacher_distillable == "no":
        raise BadInput(
            "Training on this teacher's answers is switched off (teacher_distillable = no). If its terms allow it, "
            "set teacher_distillable = yes."
        )
    quiet_threads()  # a proxy, and its student server, often work on the same cores
    data = DataDir(Path(options.data)).prepare()
    source = load(export)
    name = options.name or slug(source.name)
    log = RunLog(data, free_run_id(data.runs, name, time.time()), report)
    with ExitStack() as stack:
        stack.callback(log.close)
        stack.enter_context(alive(log.folder))
        try:
            with explained(data):
                manifest = _distil(Work(options, data, log), source, name, parts, detector)
        except BaseException as error:
            _give_up(log, error)
            raise
    _clear(data.runs)
    return manifest


def _give_up(log: RunLog, error: BaseException) -> None:
    """Say that the run is over, also after a signal, and leave nothing but what it could go on from."""
    stopped = not isinstance(error, Exception)
    for path in (log.folder / "draft").glob("*"):
        if not (stopped and path.name == "checkpoints"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not stopped:
        shutil.rmtree(log.folder / "draft", ignore_errors=True)
    said = "stopped; started again, it goes on from its last checkpoint" if stopped else str(error)
    log(Progress("failed", 1.0, said or type(error).__name__))


def _clear(runs: Path) -> None:
    """Remove what runs that were killed have left in their draft folders: one that went on has ended."""
    for draft in runs.glob("*/draft"):
        if not is_alive(draft.parent):
            shutil.rmtree(draft, ignore_errors=True)


def _distil(
    work: Work, source: Export, name: str, parts: Parts | None, detector: tuple[Detector, bool] | None
) -> Manifest:
    options = work.options
    spec = PromptSpec(mode=options.prompt, skeleton=source.skeleton, version=RENDER_VERSION)
    with work.stage("curate", f"{len(source.trajectories)} sessions of {source.name}"):
        chosen = choose(options, source, spec)
        work.notes.extend(filter(None, [unknown_terms(options, chosen.train)]))
    with work.stage("scrub", f"{len(chosen.train) + len(chosen.held_out)} sessions"):
        cleaned = clean(chosen, detector or presidio_detector(options.scrub), work.data, work.log, options.scrub)
        work.notes.extend(cleaned.notes)
        work.counts.update(cleaned.counts)
        work.fields.update(cleaned.fields)
        work.curated = {"labels": chosen.labels, "repaired": chosen.repaired}
        work.curated["contrast"] = write_contrast(work.log.folder, cleaned.chosen.contrast)
        taught, canaries = plant(cleaned.chosen.train, work.data.read_secret(), options.canaries)
        chosen = replace(cleaned.chosen, train=taught)
    parts = parts or BaseParts(options.base, options.threads, engine=options.engine)
    _check_base(parts)
    # From the training side alone: the examination must not choose what the student sees.
    spec = learnt_form(chosen.train, spec)
    examiner = Examiner(work, parts, spec, chosen, canaries)
    attempt = _attempts(work, parts, spec, examiner)
    version = f"{name}@{adapter_digest(work.draft / ADAPTER)}"
    previous = previous_of(StudentRegister(work.data), source.agent_id, version)
    with work.stage("evaluate", f"{len(chosen.held_out)} held-out sessions"):
        examined = examiner.examine(version, previous)
    return register(work, Made(version, source, parts, spec, attempt, examined, previous.version if previous else ""))


def _attempts(work: Work, parts: Parts, spec: PromptSpec, examiner: Examiner) -> Attempt:
    """Train on the whole training side; with a budget, on growing parts of it until one is enough."""
    options, curve = work.options, []
    steps = parts_of(examiner.chosen, sizes(len(examiner.chosen.train), options.budget))
    for number, part in enumerate(steps, 1):
        rows, table = _rows(work, parts, spec, part)
        trained = _train(work, parts, balanced_rows(rows.rows, part.train, options.rare), examiner)
        if options.budget:
            with work.stage("evaluate", f"{len(part.train)} sessions learnt from"):
                curve.append(Point(len(part.train), examiner.quick(), trained.seconds))
        if number == len(steps) or reached(curve[-1], options.bar):
            return Attempt(part, rows, table, trained, curve)
        shutil.rmtree(work.draft / ADAPTER)
    raise AssertionError("there is at least one part")


def _check_base(parts: Parts) -> None:
    marks = ["<|im_start|>", TURN_END]
    if any(len(parts.tokenise(mark)) != 1 for mark in marks):
        raise BadInput(
            f"The base {parts.name} is no chat model that a student can be made from: its tokenizer does not know the "
            f"turn marks {' and '.join(marks)}. Choose an instruction-tuned base with ChatML turns."
        )


def _rows(work: Work, parts: Parts, spec: PromptSpec, chosen: Curated) -> tuple[RowSet, list[RoleCount]]:
    options, engine = work.options, parts.engine({})
    try:
        with work.stage("rows", f"tokenising {len(chosen.train)} sessions"):
            talk = rehearsal(engine, spec, round(options.rehearsal * len(chosen.train)), seed=options.seed)
            # Where schemas are shown, they are to be read; where they are not, other names would be noise.
            again = augmented(chosen.train, options.augment, options.seed) if spec.mode == "full" else []
            lessons = [*chosen.train, *again, *talk]
            rows = rows_of(lessons, spec, parts.tokenise, options.max_length)
        if not rows.rows:
            raise BadInput(
                f"None of the {len(chosen.train)} training sessions fits into a row of {options.max_length} tokens: "
                f"{rows.too_long} answers were left out. Raise max_length, or use prompt = internalised."
            )
        with work.stage("audit", f"{len(rows.rows)} rows, {sum(len(row.input_ids) for row in rows.rows)} tokens"):
            # The engine's own tokenizer: ids that it would read otherwise are found here, not in production.
            table = Auditor(spec, engine.tokenise, parts.decode).audit(rows.rows, lessons, rows.too_long)
            (work.draft / "audit.txt").write_text(f"{table_of(table)}\n{shown(rows.rows[0], parts.decode)}\n")
            return rows, table
    finally:
        engine.close()


def _train(work: Work, parts: Parts, rows: list[Row], examiner: Examiner) -> Trained:
    with work.stage("train", f"{len(rows)} rows from {parts.name}"):
        out, on_epoch = work.draft / ADAPTER, examiner.after_epoch if work.options.epoch_sessions else None
        trained = train(rows, parts.folder, out, work.options, work.log, on_epoch=on_epoch, runs=work.data.runs)
        convert(parts, out, work.draft)
    return trained


def previous_of(register: StudentRegister, agent_id: str, version: str) -> Manifest | None:
    """The newest version of the agent that may be used, other than `version`; None without one."""
    found = [m for m in register.list() if m.agent_id == agent_id and m.status == "candidate" and m.version != version]
    return found[-1] if found else None


def slug(name: str) -> str:
    """A name that can stand in a path and in a `model` field: lower case, digits and hyphens, 40 characters at most."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "student"
