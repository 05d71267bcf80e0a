"""The admin API's part for looking into patterns and changing them (docs/patterns.md).

Changes go through the keeper; the rules for browsers are those of the whole API.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from ..traffic import pattern_details, pattern_plans
from ..traffic.errors import BadInput
from ..traffic.opportunities import DAY_S, opportunities
from ..traffic.pattern_edits import Event
from ..traffic.patterns import PatternEntry, Registry
from ..traffic.prices import price_table
from ..traffic.step_graph import step_graph
from ..traffic.steps import runs_of
from .admin_http import answer, read_body
from .ledger import cost, price_of
from .overview import Overview
from .pattern_editor import Plan

MOST_DAYS, MOST_RUNS = 3650, 10_000


class Order(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What every change takes."""

    actor: str = "api"
    force: bool = False
    """A student that serves a pattern concerned is demoted first; otherwise the change is refused."""


class RenameOrder(Order, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/patterns/PATTERN/rename`."""

    name: str


class MergeOrder(Order, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/patterns/PATTERN/merge`."""

    others: tuple[str, ...]


class SplitOrder(Order, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /api/patterns/PATTERN/split`."""

    by: str
    value: str
    name: str = ""


@dataclass(frozen=True)
class PatternAdmin:
    """What the routes need."""

    overview: Overview
    clock: Callable[[], float]
    one: Callable[[str], str]
    """The one pattern of an id or a name; raises UnknownName or BadInput."""

    @property
    def registry(self) -> Registry:
        return self.overview.keeper.registry

    def cost(self, model: str, prompt: float, completion: float) -> float | None:
        """Dollars; None when the model's price is unknown."""
        return cost(price_of(model, self.overview.options.prices), prompt, completion)

    def details(self, pattern: str) -> dict[str, Any]:
        """Everything that `patterns show` shows beside the row of the listing."""
        wanted, store = self.one(pattern), self.overview.store
        entry = self._entry(wanted)
        return {
            "skeleton": pattern_details.skeleton_lines(entry),
            "tools": pattern_details.tools_of(store, wanted),
            "made_of": entry.made_of,
            "replaced_by": self._replaced_by(entry),
            "days": pattern_details.volume_of(store, [wanted]),
            "examples": pattern_details.examples_of(store, wanted),
        }

    def differences(self, pattern: str) -> list[dict[str, Any]]:
        """What the agent of an id or name could be split by."""
        agent = pattern_plans.agent_named(self.registry, pattern)
        return [one._asdict() for one in pattern_plans.differences(self.registry, self.overview.store, agent)]

    def graph(self, pattern: str, limit: int) -> dict[str, Any]:
        """The step graph of the agent of an id or name."""
        known = [one.agent_id for one in self.registry.entries() if pattern in (one.agent_id, one.pattern_id)]
        # By id also one that is out of use: its runs are in the store.
        agent = known[0] if known else pattern_plans.agent_named(self.registry, pattern)
        members = [one for one in self.registry.entries() if one.agent_id == agent]
        graph = step_graph(runs_of(self.overview.store, [one.pattern_id for one in members], limit), self.cost)
        return {"agent_id": agent, "name": members[0].name, **msgspec.to_builtins(graph)}

    def opportunities(self, days: float) -> dict[str, Any]:
        """All patterns in use by what teaching them would save."""
        used = [one for one in self.registry.entries() if self.registry.edits.replaced_by(one.agent_id) is None]
        now = self.clock()
        found = opportunities(self.overview.store, used, self.cost, now - days * DAY_S, now)
        priced = all(one.dollars_saved for one in found)
        states = {one.pattern_id: self.overview.board.state(one.pattern_id).state for one in found}
        return {
            "ranked_by": "dollars" if priced else "tokens",
            "prices_from": price_table().date,
            "opportunities": [{**msgspec.to_builtins(one), "state": states[one.pattern_id]} for one in found],
        }

    def history(self) -> list[dict[str, Any]]:
        """All edits and undos, the newest first."""
        in_force = {event.seq for event in self.registry.edits.events}
        events = reversed(self.overview.keeper.editor.history)
        return [{**_told(event), "in_force": event.seq in in_force} for event in events]

    def change(self, plan: Plan, order: Order) -> dict[str, Any]:
        """Carry a change out; answers with the event and the patterns that it made."""
        before = {entry.pattern_id for entry in self.registry.entries()}
        event = self.overview.keeper.edit_patterns(plan, order.actor, order.force)
        made = [entry.pattern_id for entry in self.registry.entries() if entry.pattern_id not in before]
        return {**_told(event), "made": made}

    def _entry(self, pattern_id: str) -> PatternEntry:
        return next(entry for entry in self.registry.entries() if entry.pattern_id == pattern_id)

    def _replaced_by(self, entry: PatternEntry) -> list[str]:
        """Patterns of the same role that this one's calls go to; empty while it is in use."""
        _, agents = self.registry.edits.replaced_by(entry.agent_id) or (0, ())
        return [one.pattern_id for one in self.registry.entries() if one.agent_id in agents and one.role == entry.role]


def add_patterns(app: FastAPI, admin: PatternAdmin) -> None:
    """Add the routes that look into patterns, and those that change them."""

    @app.get("/api/opportunities")
    def chances(days: float = 30.0) -> Response:
        return answer(admin.opportunities(_within(days, MOST_DAYS, "days")))

    @app.get("/api/pattern-edits")
    def history() -> Response:
        return answer(admin.history())

    @app.get("/api/patterns/{pattern}/details")
    def details(pattern: str) -> Response:
        return answer(admin.details(pattern))

    @app.get("/api/patterns/{pattern}/differences")
    def differences(pattern: str) -> Response:
        return answer(admin.differences(pattern))

    @app.get("/api/patterns/{pattern}/graph")
    def graph(pattern: str, limit: int = 1_000) -> Response:
        return answer(admin.graph(pattern, int(_within(limit, MOST_RUNS, "limit"))))

    _add_changes(app, admin)


def _add_changes(app: FastAPI, admin: PatternAdmin) -> None:
    store = admin.overview.store

    @app.post("/api/pattern-edits/undo")
    async def undo(request: Request) -> Response:
        order = await read_body(request, Order)
        return answer(await run_in_threadpool(admin.change, pattern_plans.undo, order))

    @app.post("/api/patterns/{pattern}/rename")
    async def rename(pattern: str, request: Request) -> Response:
        order = await read_body(request, RenameOrder)

        def plan(registry: Registry) -> Any:
            return pattern_plans.rename(registry, pattern, order.name)

        return answer(await run_in_threadpool(admin.change, plan, order))

    @app.post("/api/patterns/{pattern}/merge")
    async def merge(pattern: str, request: Request) -> Response:
        order = await read_body(request, MergeOrder)

        def plan(registry: Registry) -> Any:
            return pattern_plans.merge(registry, [pattern, *order.others])

        return answer(await run_in_threadpool(admin.change, plan, order))

    @app.post("/api/patterns/{pattern}/split")
    async def split(pattern: str, request: Request) -> Response:
        order = await read_body(request, SplitOrder)

        def plan(registry: Registry) -> Any:
            return pattern_plans.split(registry, store, pattern, order.by, order.value, order.name)

        return answer(await run_in_threadpool(admin.change, plan, order))


def _told(event: Event) -> dict[str, Any]:
    """An event as plain values; `kind` is rename, merge, split or undo."""
    detail = msgspec.to_builtins(event.change)
    return {"seq": event.seq, "at": event.at, "actor": event.actor, "kind": detail.pop("type"), "detail": detail}


def _within(value: float, most: float, name: str) -> float:
    if not 0 < value <= most:
        raise BadInput(f"Parameter {name!r} must be above 0 and at most {most}, not {value:g}.")
    return value
