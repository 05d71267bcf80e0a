"""From an export to the two sides that a run works with: the sessions are chosen, then freed of personal values."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..traffic.errors import BadInput
from ..traffic.intents import OTHER, sessions_of
from ..traffic.layout import DataDir
from ..traffic.scrub_rules import ScrubRules
from ..traffic.skeleton import Skeleton, mask, system_text
from ..traffic.students import PromptSpec
from .curate import Curated, Export, Message, Trajectory, curate
from .detect import Detector
from .leaks import Leak, require_clean, scan
from .options import DistillOptions
from .progress import Progress, Report
from .scrub import Scrubber, shared_values


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
    sides = replace(chosen, train=safe[: len(chosen.train)], held_out=safe[len(chosen.train) :])
    fields: dict[str, dict[str, int]] = {}
    for (kind, name), number in sorted(by_field.items()):
        fields.setdefault(kind, {})[name] = number
    return Cleaned(sides, counts, fields, notes)
