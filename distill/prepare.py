"""From an export to the two sides that a run works with: the sessions are chosen, then freed of personal values."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..traffic.errors import BadInput
from ..traffic.intents import OTHER, sessions_of
from ..traffic.layout import DataDir
from ..traffic.scrub_rules import ScrubRules
from ..traffic.skeleton import Skeleton, mask, system_text
from ..traffic.students import PromptSpec
from ..traffic.teacher_terms import TeacherTerms, terms_for
from .curate import Contrast, Curated, Export, Message, Trajectory
from .detect import Detector
from .leaks import Leak, require_clean, scan
from .options import DistillOptions
from .progress import Progress, Report
from .scrub import Scrubber, shared_values
from .selection import curate


@dataclass(frozen=True)
class Cleaned:
    """The chosen sessions without personal values."""

    chosen: Curated
    counts: Counter[str]
    """Personal values exchanged, by kind."""
    fields: dict[str, dict[str, int]]
    """The same by kind and field; `text` is running text."""
    notes: list[str]
    """What a person should know, in sentences."""


def choose(options: DistillOptions, source: Export, spec: PromptSpec) -> Curated:
    """Choose and split the sessions of an export. Raises BadInput when there is too little to learn from."""
    skeleton = Skeleton(tuple(spec.skeleton))

    def varying(messages: list[Message]) -> Any:
        # Clocks and ids in the system prompt do not make two sessions different.
        lines = [mask(line)[0] for line in skeleton.varying(system_text(messages))]
        return [lines, [message for message in messages if message.get("role") not in ("system", "developer")]]

    intents = sessions_of(DataDir(Path(options.data)), source.pattern_ids)
    chosen = curate(
        source.trajectories,
        share=options.held_out,
        max_train=options.max_sessions,
        max_held_out=options.max_held_out,
        tools=source.tools,
        varying=varying,
        intent_of=lambda item: intents.get(item.trajectory_id, OTHER),
        allowed=lambda model: terms(options, model).distillable != "no",
    )
    if chosen.dropped.get("not_allowed") and not chosen.train:
        raise BadInput(
            f"The teachers' terms do not allow training on their answers (distillable = no), and no others are in the "
            f"{chosen.dropped['not_allowed']} sessions of {source.name}. If they do allow it, set distillable = yes."
        )
    usable = len(chosen.train) + len(chosen.held_out)
    if usable < options.min_sessions or not chosen.train or not chosen.held_out:
        left_out = ", ".join(f"{count} {reason}" for reason, count in chosen.dropped.items()) or "none left out"
        raise BadInput(
            f"Expected at least {options.min_sessions} successful sessions of {source.name}, some of them held out; "
            f"found {len(chosen.train)} to train on and {len(chosen.held_out)} held out ({left_out}). "
            "A session counts when it has been silent for routing.session_idle_s, half an hour unless set, or when "
            "feedback says how it ended. Wait for that, let more traffic through, or lower min_sessions."
        )
    return chosen


def terms(options: DistillOptions, model: str) -> TeacherTerms:
    """What the terms of the teacher behind a model say about training on its answers."""
    default = options.teacher_distillable
    return terms_for(model, options.teachers, default if default in ("yes", "no") else "unknown")


def unknown_terms(options: DistillOptions, sessions: Sequence[Trajectory]) -> str:
    """A sentence that names the teachers whose terms nobody has looked up; empty when there is none."""
    models = {call.model for item in sessions for call in item.trainable}
    names = sorted({found.name for model in models if (found := terms(options, model)).distillable == "unknown"})
    if not names:
        return ""
    return (
        f"Nobody has said whether the teacher's terms allow training on its answers ({', '.join(names)}): set "
        "teacher_distillable in [distill], or distillable in [teachers.NAME]."
    )


def clean(
    chosen: Curated, detecting: tuple[Detector, bool], data: DataDir, report: Report, rules: ScrubRules | None = None
) -> Cleaned:
    """Scrub both sides with the key of the data folder. Raises PersonalDataLeft when the second look finds any."""
    rules = rules or ScrubRules()
    detector, knows_names = detecting
    notes = []
    if not knows_names:
        notes.append("Names in running text were looked for by lists and rules alone: no spaCy model is installed.")
    sessions = [*chosen.train, *chosen.held_out]
    kept = shared_values(detector, [system_text(item.messages) for item in sessions])
    scrubber = Scrubber(detector, data.read_secret(), kept, rules)
    leaks: list[Leak] = []
    safe: list[Trajectory] = []
    counts: Counter[str] = Counter()
    by_field: Counter[tuple[str, str]] = Counter()
    for number, item in enumerate(sessions, 1):
        scrubbed = scrubber.scrub(item.trajectory_id, item.messages, item.tools)
        leaks += scan(item.trajectory_id, scrubbed, detector, scrubber.kept_in(item.tools), rules)
        counts.update(scrubbed.counts)
        by_field.update(scrubbed.fields)
        safe.append(replace(item, messages=scrubbed.messages))
        if number % 100 == 0:
            report(Progress("scrub", number / len(sessions), f"{number} sessions"))
    require_clean(leaks)
    chosen = replace(chosen, contrast=_safe_contrast(chosen.contrast, scrubber, detector, rules))
    sides = replace(chosen, train=safe[: len(chosen.train)], held_out=safe[len(chosen.train) :])
    fields: dict[str, dict[str, int]] = {}
    for (kind, name), number in sorted(by_field.items()):
        fields.setdefault(kind, {})[name] = number
    return Cleaned(sides, counts, fields, notes)


def _safe_contrast(
    sessions: Sequence[Contrast], scrubber: Scrubber, detector: Detector, rules: ScrubRules
) -> list[Contrast]:
    """The same without personal values; a session in which any is left is left out, for nobody is trained on it."""
    safe = []
    for one in sessions:
        item = one.item
        scrubbed = scrubber.scrub(item.trajectory_id, item.messages, item.tools)
        if not scan(item.trajectory_id, scrubbed, detector, scrubber.kept_in(item.tools), rules):
            safe.append(one._replace(item=replace(item, messages=scrubbed.messages)))
    return safe
