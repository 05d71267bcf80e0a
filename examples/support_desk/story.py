"""The support desk's whole story: its teacher is watched, a student trained, proved, given the work, and sent back.

    python -m tutelage.examples.support_desk.story [FIGURES.json]

As `tutelage demo`, but with ten tools on a real database, and with runs that the database judges: the student learns
from those alone that are in there. It is a harder agent, so the story goes on as soon as one of its two patterns is
proved, whole or where the student is sure; the other one stays with the teacher while its proof is missing.
"""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from openai import DefaultHttpxClient, OpenAI
from rich.console import Console

from ..demo_world import World
from ..parcels.agent import Tally
from ..story import Plan, Story
from .__main__ import opened
from .agent import DATABASE, serve
from .customers import Customer, customers
from .shop import Shop

CONCURRENCY = 4


class DeskStory(Story):
    """Ten tools, two patterns, one student."""

    plan = Plan("desk", observe=320, shadow_batch=24, live=25, drift_batch=16, patterns=1, limit_s=900.0)

    @contextmanager
    def surroundings(self) -> Iterator[World]:
        with opened(self.data) as place:
            self.place, self.shop = place, Shop(Path(os.environ[DATABASE]))
            self.customers = customers(self.shop, self.seed)
            try:
                yield place.world
            finally:
                self.shop.close()

    def change(self) -> str:
        self.world.change_teacher(plain_numbers=True)
        return "the teacher forgets the hyphen in order numbers."

    def serve(self, sessions: int) -> Tally:
        waiting = enumerate(list(islice(self.customers, sessions)), self.tally.sessions)
        tally = Tally()
        with ThreadPoolExecutor(CONCURRENCY) as pool:
            for one in pool.map(lambda one: self._serve(*one), waiting):
                tally.add(one)
        self.tally.add(tally)
        return tally

    def _serve(self, number: int, customer: Customer) -> Tally:
        tally = Tally(sessions=1)

        def count(response: Any) -> None:
            tally.calls += 1
            tally.errors += response.status_code != 200
            route = response.headers.get("x-tutelage-route", "direct")
            tally.routes[route] = tally.routes.get(route, 0) + 1

        shop = Shop(Path(os.environ[DATABASE]))
        web = DefaultHttpxClient(event_hooks={"response": [count]}, timeout=120, trust_env=False)
        with OpenAI(base_url=self.place.url, api_key=self.place.key, max_retries=0, http_client=web) as client:
            if not serve(client, self.place.model, shop, customer, f"customer-{number}"):
                tally.unfinished += 1
        shop.close()
        return tally


def main(figures: Path | None = None) -> bool:
    """Tell it; whether the student was promoted, and demoted in the end."""
    told = DeskStory(Console()).run(leave_dashboard=False, figures=figures)
    return told["promoted"] and told["demoted"]


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1]) if sys.argv[1:] else None) else 1)
