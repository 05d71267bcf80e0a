"""One pattern: what is missing for the next step, the evidence, both sides beside each other, and what may be done."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..traffic.pattern_details import Example, SkeletonLine, Tool, examples_of, skeleton_lines, tools_of
from ..traffic.step_graph import StepGraph, step_graph
from ..traffic.steps import runs_of
from .explain import explain
from .figures import Measured, count, measured, millis, money, of, short
from .states import PatternState
from .step_drawing import Drawing, drawing_of
from .tool_policies import Ruled
from .views import DAY_S, Site, name_of
from .views_actions import Action, actions_of
from .views_changes import Change, ChangeView, change_of, change_view
from .views_evidence import EvidenceBook, EvidencePlot, plots_of
from .views_queries import Side, sides

LOOK_DAYS = 7
RUNS = 500
"""Newest runs in the step graph."""
SLOW_S = 60.0
"""How often the step graph and the examples are read anew at most."""


@dataclass(frozen=True)
class SideLine:
    """One route of the pattern."""

    route: str
    model: str
    calls: str
    first: str
    whole: str
    tokens: str
    cost: str
    failed: str


@dataclass(frozen=True)
class VersionLine:
    """One student version on this pattern."""

    student: str
    state: str
    trial: str
    risk: Measured


@dataclass(frozen=True)
class Policy:
    """How calls of one tool are compared."""

    tool: str
    description: str
    kind: str
    free_text: str
    ignored: str
    source: str
    reason: str
    parameters: str


@dataclass(frozen=True)
class EdgeLine:
    """A row of `/tables/steps-graph`."""

    before: str
    after: str
    count: float
    n: int
    """Steps that follow `before`."""
    low: float
    """95 % interval of the share."""
    high: float
    dollars: float | None


@dataclass(frozen=True)
class PatternPage:
    """Everything on the page."""

    pattern_id: str
    name: str
    agent_id: str
    about: str
    state: str
    state_text: str
    student: str
    held: bool
    forced: bool
    sessions: str
    """How many sessions there are, about how many it takes, and how many disagreements."""
    missing: str
    blocks: tuple[str, ...]
    """What stands in the way beside missing evidence."""
    progress: int | None
    risk: Measured
    versions: tuple[VersionLine, ...]
    plots: tuple[EvidencePlot, ...]
    days: int
    sides: tuple[SideLine, ...]
    actions: tuple[Action, ...]
    changes: tuple[ChangeView, ...]
    skeleton: tuple[SkeletonLine, ...]
    tools: tuple[Tool, ...]
    policies: tuple[Policy, ...]
    policy: str
    """Digest of the policy in force."""
    drawing: Drawing | None
    edges: tuple[EdgeLine, ...]
    graph_note: str
    examples: tuple[Example, ...]
    disagreements: str
    """Address of the pairs in which the student was worse."""
    agents_url: str


def pattern_page(site: Site, book: EvidenceBook, pattern_id: str) -> PatternPage:
    """The page as of now. Raises UnknownName."""
    row, state = site.pattern(pattern_id), site.board.state(pattern_id)
    facts, names = explain(state), site.names()
    tools = site.memo.get(("tools", pattern_id), lambda: tools_of(site.store, pattern_id), 5.0)
    examples = site.memo.get(("examples", pattern_id), lambda: examples_of(site.store, pattern_id), 5.0)
    graph, rules = step_graph_of(site, pattern_id), site.policies.seen(pattern_id)
    gate = facts.get(state.state) or {}
    share = f" {facts['serve']:.0%}" if state.state == "canary" else ""
    return PatternPage(
        pattern_id=pattern_id,
        name=name_of(row),
        agent_id=row.agent_id,
        about=f"version {row.version} · {count(row.calls)} calls · {count(row.sessions)} sessions",
        state=state.state,
        state_text=state.state + share,
        student=state.student,
        held=state.held,
        forced=state.forced,
        sessions=sessions_text(facts),
        missing=facts["next"],
        blocks=tuple(facts["blocks"]),
        progress=_progress(gate),
        risk=_risk(state),
        versions=tuple(_version(one) for one in site.board.states(pattern_id)),
        plots=_plots(site, book, pattern_id, state.student),
        days=LOOK_DAYS,
        sides=tuple(_side(one, site) for one in sides_of(site, pattern_id)),
        actions=actions_of(state),
        changes=tuple(change_view(one, names) for one in changes_of(site, pattern_id)),
        skeleton=tuple(skeleton_lines(site.entry(pattern_id))),
        tools=tuple(tools),
        policies=tuple(_policy(one) for one in rules.tools),
        policy=rules.policy.digest,
        drawing=drawing_of(graph) if graph else None,
        edges=tuple(edges_of(graph))[:30],
        graph_note=_graph_note(graph),
        examples=tuple(examples),
        disagreements=f"/pairs?pattern={pattern_id}&only=disagree",
        agents_url=site.options.data_plane_url,
    )


def _plots(site: Site, book: EvidenceBook, pattern_id: str, student: str) -> tuple[EvidencePlot, ...]:
    """The evidence drawn; nothing while tens of thousands of sessions are read, which is done beside the page."""
    if not student:
        return ()
    if book.far_behind(pattern_id, student):
        site.memo.later(("evidence", pattern_id, student), lambda: book.series(pattern_id, student), 0.0)
        return ()
    return tuple(plots_of(book.series(pattern_id, student)))


def sides_of(site: Site, pattern_id: str) -> list[Side]:
    """The pattern's routes in the last days."""
    since = site.clock() // 3_600 * 3_600 - LOOK_DAYS * DAY_S
    return site.memo.get(("sides", pattern_id, since), lambda: sides(site.store, pattern_id, since))


def changes_of(site: Site, pattern_id: str, limit: int = 50) -> list[Change]:
    """The newest changes of the pattern's route."""
    return [change_of(row) for row in site.board.log.transitions(limit, pattern_id)]


def step_graph_of(site: Site, pattern_id: str) -> StepGraph | None:
    """The step graph of the pattern's agent; None while it is read for the first time."""
    agent = site.entry(pattern_id).agent_id
    members = [one.pattern_id for one in site.admin.registry.entries() if one.agent_id == agent]

    def read() -> StepGraph:
        return step_graph(runs_of(site.store, members, RUNS), site.admin.cost)

    return site.memo.later(("graph", agent), read, SLOW_S)


def edges_of(graph: StepGraph | None) -> list[EdgeLine]:
    """All ways of the graph, the most frequent first."""
    return [
        EdgeLine(one.before, one.after, one.share.count, one.share.n, one.share.low, one.share.high, one.dollars)
        for one in (graph.edges if graph else ())
    ]


def _graph_note(graph: StepGraph | None) -> str:
    if graph is None:
        return "The newest runs are being read; the graph is here in a moment."
    if not graph.calls:
        return "No finished call yet."
    return (
        f"{count(graph.runs)} newest runs, {count(graph.calls)} calls, {count(graph.different_paths)} different paths"
    )


def sessions_text(facts: Mapping[str, Any]) -> str:
    """`96 of about 131 sessions, 1 disagreement`; empty where no proof is being gathered."""
    if facts["losses"] is None:
        return ""
    n, losses, expected = facts["n"], facts["losses"], facts["expected"]
    about = f" of about {count(n + math.ceil(expected))}" if expected is not None else ""
    return f"{count(n)}{about} sessions, {losses:.3g} {'disagreement' if losses == 1 else 'disagreements'}"


def _progress(gate: Mapping[str, Any]) -> int | None:
    if "log_needed" not in gate:
        return None
    return round(100 * min(max(gate["log_wealth"] / gate["log_needed"], 0.0), 1.0))


def _risk(state: PatternState) -> Measured:
    facts = explain(state)
    low, high = facts["interval"] or (0.0, 1.0)
    return measured(facts["risk"], low, high, facts["n"], state.epsilon if state.student else None)


def _version(state: PatternState) -> VersionLine:
    return VersionLine(state.student, state.state, f"trial {state.k}", _risk(state))


def _side(row: Side, site: Site) -> SideLine:
    cost = None
    if row.route == "teacher" and row.prompt_tokens is not None and row.completion_tokens is not None:
        cost = site.admin.cost(row.model, row.prompt_tokens, row.completion_tokens)
    tokens = (row.prompt_tokens, row.completion_tokens)
    return SideLine(
        route=row.route or "none",
        model=row.model,
        calls=count(row.calls),
        first=millis(row.first_byte_p50_ms),
        whole=f"{millis(row.latency_p50_ms)} · p95 {millis(row.latency_p95_ms)}",
        tokens="–" if None in tokens else f"{count(tokens[0] or 0)} in · {count(tokens[1] or 0)} out",
        cost=f"{money(cost)} a call" if row.route == "teacher" else "your hardware" if row.route == "student" else "–",
        failed=of(row.failed, row.calls),
    )


def _policy(ruled: Ruled) -> Policy:
    rule = ruled.rule
    return Policy(
        tool=ruled.tool,
        description=short(ruled.description),
        kind=rule.kind,
        free_text=", ".join(rule.free_text),
        ignored=", ".join(rule.ignore),
        source=ruled.source,
        reason=ruled.reason,
        parameters=", ".join(ruled.parameters),
    )
