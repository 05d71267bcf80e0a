"""One student version: data, mask audit, scores beside floor, base and the version before, lineage, configuration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ..traffic.students import Manifest
from .figures import NO_VALUE, count, duration, moment
from .student_runs import report_in
from .views import Site
from .views_examination import ExaminationView, examination
from .views_students import ScoreView, score_view, scores_of, states_of, tone_of, whole_score
from .views_trajectories import Link, training_set


@dataclass(frozen=True)
class Row:
    """A name and a value, and the value of the version compared with."""

    name: str
    value: str
    other: str
    differs: bool


@dataclass(frozen=True)
class StudentPage:
    """One version."""

    version: str
    status: str
    tone: str
    reason: str
    made: str
    base: str
    agent: str
    patterns: tuple[Link, ...]
    score: ScoreView
    scores: tuple[ScoreView, ...]
    previous: Link | None
    previous_score: ScoreView | None
    examination: ExaminationView
    data: tuple[Row, ...]
    audit: tuple[Row, ...]
    personal: tuple[Row, ...]
    seconds: tuple[Row, ...]
    config: tuple[Row, ...]
    notes: tuple[str, ...]
    run: Link | None
    lineage: str
    lessons: tuple[Link, ...]
    others: tuple[Link, ...]
    """Versions that it can be compared with."""
    beside: str
    """The version compared with; empty without one."""
    retired: bool


def student_page(site: Site, version: str, beside: str = "") -> StudentPage:
    """One version, compared with another if one is named. Raises UnknownName."""
    manifest, names = site.students.get(version), site.names()
    other = site.students.get(beside) if beside else None
    siblings = [one for one in site.students.list() if one.version != version]
    earlier = [one for one in siblings if one.agent_id == manifest.agent_id and one.created_at < manifest.created_at]
    scores = scores_of(manifest)
    reasons = {str(row.get("pattern_id")): row.get("reasons") or {} for row in manifest.scores.get("patterns", [])}
    report = report_in(site.students.path(version))
    lessons = sorted(training_set(site, manifest))
    run = str(report.get("run", ""))
    return StudentPage(
        version=version,
        status=manifest.status,
        tone=tone_of(manifest),
        reason=manifest.reason,
        made=moment(manifest.created_at),
        base=f"{manifest.base} ({manifest.base_digest[:12]})",
        agent=next((one.name for one in site.admin.registry.entries() if one.agent_id == manifest.agent_id), "unknown"),
        patterns=tuple(states_of(site, manifest)) or tuple(_links(manifest.pattern_ids, names)),
        score=whole_score(manifest),
        scores=tuple(score_view(row, names, reasons.get(row.pattern_id, {})) for row in scores[1:]),
        previous=_student(earlier[-1].version) if earlier else None,
        previous_score=whole_score(earlier[-1]) if earlier else None,
        examination=examination(manifest),
        data=_rows(_data(manifest), _data(other) if other else None),
        audit=_audit(report),
        personal=_rows(
            {kind.replace("_", " ").lower(): count(n) for kind, n in report.get("personal_values", {}).items()}
        ),
        seconds=_rows(_times(manifest), _times(other) if other else None),
        config=_rows(_config(manifest), _config(other) if other else None),
        notes=tuple(str(note) for note in report.get("notes", [])),
        run=Link(f"/runs/{quote(run, safe='')}", run) if run else None,
        lineage=f"{count(len(lessons))} runs, data {manifest.data_digest[:12]}, adapter {version.partition('@')[2]}",
        lessons=tuple(Link(f"/trajectories/{quote(one, safe='')}", one) for one in lessons[:12]),
        others=tuple(
            Link(f"/students/{quote(version, safe='')}?beside={quote(one.version)}", one.version) for one in siblings
        ),
        beside=beside,
        retired=manifest.status == "retired",
    )


def _links(patterns: Sequence[str], names: Mapping[str, str]) -> list[Link]:
    return [Link(f"/patterns/{one}", names.get(one, one)) for one in patterns]


def _student(version: str) -> Link:
    return Link(f"/students/{quote(version, safe='')}", version)


def _rows(values: Mapping[str, str], others: Mapping[str, str] | None = None) -> tuple[Row, ...]:
    names = [*values, *(name for name in others or {} if name not in values)]
    return tuple(
        Row(name, values.get(name, NO_VALUE), (others or {}).get(name, NO_VALUE), _differs(name, values, others))
        for name in names
    )


def _differs(name: str, values: Mapping[str, str], others: Mapping[str, str] | None) -> bool:
    return others is not None and values.get(name) != others.get(name)


def _data(manifest: Manifest) -> dict[str, str]:
    """What went in, and what was dropped by reason."""
    sessions = {f"sessions {name.replace('_', ' ')}": count(number) for name, number in manifest.sessions.items()}
    dropped = {
        "rows trained on" if name == "kept" else f"dropped: {name.replace('_', ' ')}": count(number)
        for name, number in manifest.rows.items()
    }
    return {**sessions, **dropped, "newest call in the data": moment(manifest.snapshot_at)}


def _times(manifest: Manifest) -> dict[str, str]:
    total = sum(manifest.seconds.values())
    return {**{name: duration(seconds) for name, seconds in manifest.seconds.items()}, "in all": duration(total)}


def _config(manifest: Manifest) -> dict[str, str]:
    own = {"prompt": manifest.prompt.mode, "rendering": str(manifest.prompt.version)}
    return own | {name: _text(value) for name, value in sorted(manifest.config.items())}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _audit(report: Mapping[str, Any]) -> tuple[Row, ...]:
    """The mask audit: tokens by role, trained on and masked."""
    rows = report.get("tokens") or []
    return tuple(Row(str(one["role"]), count(one["trained"]), count(one["masked"]), False) for one in rows)
