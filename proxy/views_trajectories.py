"""Agent runs: a list, and one run step by step with who answered, what the tools gave back, and how it ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import msgspec

from ..traffic import queries
from ..traffic.store import Store
from ..traffic.students import LINEAGE, Manifest
from .figures import ago, count, duration, millis, moment
from .views import Site
from .views_messages import MessageView, message_view
from .views_queries import places_of

PAGE = 50


@dataclass(frozen=True)
class RunLine:
    """One row of the list."""

    href: str
    trajectory_id: str
    agent: str
    calls: str
    began: str
    took: str
    outcome: str
    tone: str
    source: str


@dataclass(frozen=True)
class TrajectoriesPage:
    """The list."""

    rows: tuple[RunLine, ...]
    older: str
    """Address of the next page; empty on the last one."""
    query: str
    agents_url: str


@dataclass(frozen=True)
class Step:
    """A row of `/tables/steps`: one call of a run."""

    call_id: str
    at: float
    turn: int | None
    route: str
    reason: str
    """Why that route."""
    fallback: str
    model: str
    student: str
    pattern_id: str | None
    status: int
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None
    first_byte_ms: float
    latency_ms: float
    retried: bool | None
    place: int | None
    """Of its answer among the messages of the longest branch; None when it lies on another one."""


@dataclass(frozen=True)
class CallNote:
    """Who answered, for the line above an answer."""

    call_id: str
    route: str
    text: str
    tokens: str
    latency: str
    pattern_id: str
    pattern: str


@dataclass(frozen=True)
class StepView:
    """One message of the run, with the call that gave it when it is an answer."""

    number: int
    message: MessageView
    call: CallNote | None


@dataclass(frozen=True)
class Link:
    """Another page."""

    href: str
    text: str


@dataclass(frozen=True)
class TrajectoryPage:
    """One run."""

    trajectory_id: str
    agent: str
    session: str
    explicit: bool
    began: str
    took: str
    calls: str
    outcome: str
    tone: str
    source: str
    parents: tuple[Link, ...]
    children: tuple[Link, ...]
    taught: tuple[Link, ...]
    """Student versions that learnt from it."""
    steps: tuple[StepView, ...]
    others: tuple[CallNote, ...]
    """Calls whose answers are not on the longest branch: repeated, broken off, or branched away."""
    query: str
    scrub_href: str


def trajectories_page(site: Site, agent: str = "", before: float | None = None) -> TrajectoriesPage:
    """A page of the list."""
    found = queries.list_trajectories(site.store, PAGE + 1, agent=agent, before=before)
    rows = found[:PAGE]
    more = {"agent": agent, "before": repr(rows[-1].last_at)} if len(found) > PAGE else {}
    names = agent_names(site)
    return TrajectoriesPage(
        rows=tuple(_line(row, names, site.clock()) for row in rows),
        older=f"/trajectories?{urlencode(more)}" if more else "",
        query=urlencode({"agent": agent} | ({} if before is None else {"before": repr(before)})),
        agents_url=site.options.data_plane_url,
    )


def agent_names(site: Site) -> dict[str, str]:
    """What agents are called, by id."""
    return {entry.agent_id: entry.name for entry in site.admin.registry.entries()}


def trajectory_page(site: Site, trajectory_id: str) -> TrajectoryPage:
    """One run. Raises UnknownName."""
    found = queries.show_trajectory(site.store, trajectory_id)
    run, now = found.trajectory, site.clock()
    steps = steps_of(site.store, found)
    names = site.names()
    by_place = {step.place: _note(step, names) for step in steps if step.place is not None}
    line = _line(run, agent_names(site), now)
    return TrajectoryPage(
        trajectory_id=run.trajectory_id,
        agent=line.agent,
        session=run.session,
        explicit=run.explicit,
        began=moment(run.first_at),
        took=line.took,
        calls=line.calls,
        outcome=line.outcome,
        tone=line.tone,
        source=line.source,
        parents=(_link(found.parent),) if found.parent else (),
        children=tuple(_link(child) for child in found.children),
        taught=tuple(Link(f"/students/{quote(one, safe='')}", one) for one in taught(site, trajectory_id)),
        steps=tuple(
            StepView(number, message_view(message), by_place.get(number))
            for number, message in enumerate(found.messages)
        ),
        others=tuple(_note(step, names) for step in steps if step.place is None),
        query=urlencode({"trajectory": trajectory_id}),
        scrub_href=f"/scrub/{quote(trajectory_id, safe='')}",
    )


def steps_of(store: Store, found: queries.TrajectoryDetail) -> list[Step]:
    """The calls of a run in order of time, with the place of each answer on the longest branch."""
    places = places_of(store, [call.call_id for call in found.calls])
    return [
        Step(
            call.call_id,
            call.started_at,
            call.turn,
            call.route,
            call.reason,
            call.fallback,
            call.model,
            call.student,
            call.pattern_id,
            call.status,
            call.finish_reason,
            call.prompt_tokens,
            call.completion_tokens,
            call.first_byte_ms,
            call.latency_ms,
            call.retried,
            places.get(call.call_id),
        )
        for call in found.calls
    ]


def _line(run: queries.TrajectorySummary, names: Mapping[str, str], now: float) -> RunLine:
    outcome, tone = outcome_of(run)
    return RunLine(
        href=f"/trajectories/{quote(run.trajectory_id, safe='')}",
        trajectory_id=run.trajectory_id,
        agent=names.get(run.agent_id or "", run.agent_id or "not recognised yet"),
        calls=f"{count(run.calls)} {'call' if run.calls == 1 else 'calls'}",
        began=ago(run.first_at, now),
        took=duration(run.last_at - run.first_at),
        outcome=outcome,
        tone=tone,
        source=run.success_source.replace("_", " "),
    )


def outcome_of(run: queries.TrajectorySummary) -> tuple[str, str]:
    """How it ended, and a tone."""
    if run.success is None:
        return ("finished, not judged", "") if run.finished else ("open", "")
    return ("success", "good") if run.success else ("failure", "bad")


def _note(step: Step, names: Mapping[str, str]) -> CallNote:
    who = f"student {step.student}" if step.route == "student" else f"{step.route or 'nobody'} {step.model}".strip()
    reasons = (step.reason, f"fell back: {step.fallback}" if step.fallback else "")
    why = " · ".join(part.replace("_", " ") for part in reasons if part)
    known = step.prompt_tokens is not None and step.completion_tokens is not None
    status = "" if step.status == 200 else f" · status {step.status}"
    repeated = " · repeated later" if step.retried else ""
    return CallNote(
        call_id=step.call_id,
        route=step.route or "none",
        text=f"{who} · {why or 'no reason noted'}{status}{repeated}",
        tokens=f"{step.prompt_tokens:,} in · {step.completion_tokens:,} out" if known else "tokens unknown",
        latency=f"first byte {millis(step.first_byte_ms)} · {millis(step.latency_ms)} in all",
        pattern_id=step.pattern_id or "",
        pattern=names.get(step.pattern_id or "", "no pattern yet"),
    )


def _link(run: queries.TrajectorySummary) -> Link:
    return Link(f"/trajectories/{quote(run.trajectory_id, safe='')}", run.trajectory_id)


def taught(site: Site, trajectory_id: str) -> list[str]:
    """Student versions in whose training set a run is."""
    return [one.version for one in site.students.list() if trajectory_id in training_set(site, one)]


def training_set(site: Site, manifest: Manifest) -> frozenset[str]:
    """The runs that a version has learnt from. A version never changes, so its lineage is read once."""
    path = site.students.path(manifest.version) / LINEAGE

    def read() -> frozenset[str]:
        lines = path.read_bytes().splitlines() if path.is_file() else []
        return frozenset(msgspec.json.decode(line, type=_Lesson).trajectory_id for line in lines)

    return site.memo.get(("training set", manifest.version), read, 3_600.0)


class _Lesson(msgspec.Struct):
    trajectory_id: str
