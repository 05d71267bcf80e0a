"""`tutelage demo`: the whole story with real parts, on localhost, without a key.

A parcel desk's agents work through the proxy. A student is trained from their traffic, shadowed, promoted on proof and
serves live customers, until its teacher changes its ways over night: the guard sees it and takes the work back.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import islice

import httpx

from .demo_world import World
from .parcels.agent import Desk, Tally, serve_all
from .parcels.tasks import make_tasks
from .story import Plan, Story

NEW_SCHEMA_SESSIONS = 20
CONCURRENCY = 6


class Demo(Story):
    """The parcel desk's story."""

    plan = Plan("parcels", observe=240, shadow_batch=23, live=25, drift_batch=16, patterns=2)

    def surroundings(self) -> AbstractContextManager[World]:
        self.tasks = make_tasks(self.seed)
        return World(self.data)

    def acts(self) -> tuple[Callable[[], None], ...]:
        return (*super().acts(), self.new_schema)

    def change(self) -> str:
        self.world.change_teacher(plain_numbers=True)
        return "the teacher changes how it writes parcel numbers."

    def new_schema(self) -> None:
        """The agent's own change: a pattern that nobody has learned."""
        with self.stage("new schema", "A new release of the agent renames a tool parameter."):
            tally = self.serve(NEW_SCHEMA_SESSIONS, id_field="tracking_number")
            self.until(lambda: self.world.ask("/api/store/stats")["calls"] >= self.tally.calls, 60)
        self.facts["new_schema_served_by_student"] = tally.routes.get("student", 0)
        self.say(f"All {tally.routes.get('teacher', 0)} calls went to the teacher: the student never learned this.")

    def serve(self, sessions: int, id_field: str = "parcel") -> Tally:
        async def work() -> Tally:
            async with httpx.AsyncClient(timeout=120) as client:
                desk = Desk(client, self.world.base_url, id_field=id_field)
                await serve_all(desk, islice(self.tasks, sessions), CONCURRENCY)
                return desk.tally

        tally = asyncio.run(work())
        self.tally.add(tally)
        return tally
