"""The dashboard's views as HTML over a large store, each through the application, with nothing remembered.

An open page asks again every two seconds and is mostly answered from what was remembered (`proxy.memo`). Here every
answer is made anew, as for the first who opens the page. What a page has worked out beside it, and does not wait for,
is left out of its time and measured by itself.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from fastapi import FastAPI
from fastapi.testclient import TestClient

from tutelage.proxy.admin_patterns import PatternAdmin
from tutelage.proxy.control import ControlPlane
from tutelage.proxy.memo import Memo
from tutelage.proxy.overview import Overview
from tutelage.proxy.pages import Pages, add_pages
from tutelage.proxy.views import Site

VIEWS = {
    "overview": "/",
    "overview, 24 hours": "/?span=24h",
    "overview, 30 days": "/?span=30d",
    "patterns": "/patterns",
    "pattern": "/patterns/{pattern}",
    "pairs": "/pairs",
    "pairs of a pattern": "/pairs?pattern={pattern}",
    "pairs that disagree": "/pairs?only=disagree",
    "pair": "/pairs/{pair}",
    "trajectories": "/trajectories",
    "trajectory": "/trajectories/{trajectory}",
    "scrub preview": "/scrub/{trajectory}",
    "students and runs": "/students",
    "student version": "/students/{version}",
    "health and settings": "/health",
}
"""The seven views of the dashboard and the pages behind them."""

TABLES = {
    "traffic": {"span": "30d"},
    "latency": {"span": "24h"},
    "patterns": {},
    "transitions": {},
    "pairs": {},
    "trajectories": {},
    "students": {},
    "health": {},
    "sides": {"pattern": ""},
    "evidence": {"pattern": ""},
    "steps": {"trajectory": ""},
}
"""The tables behind the views that read the store, and their parameters; an empty one is filled in."""


class Cold(Memo):
    """Remembers nothing from one page to the next."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: 0.0)

    def forget(self) -> None:
        """As before the first page."""
        self._known.clear()


@contextmanager
def nothing_beside() -> Iterator[dict[str, Callable[[], Any]]]:
    """While it lasts, what would be worked out beside a page is noted, the newest of each kind, and left undone."""
    noted: dict[str, Callable[[], Any]] = {}

    def later(_: Memo, key: Hashable, make: Callable[[], Any], least_s: float, wait_s: float = 0.0) -> None:
        noted["rules of tools" if wait_s else str(key[0] if isinstance(key, tuple) else key)] = make

    with patch.object(Memo, "later", later):
        yield noted


def site_of(plane: ControlPlane, memo: Memo) -> Site:
    """Where the pages of a control plane get what they show."""
    overview = Overview(plane.store, plane.keeper, plane.options, plane.data.runs, plane.runners)
    admin = PatternAdmin(overview, plane.clock, str)
    return Site(overview, plane.data, admin, plane.policies, plane.clock, memo, plane.clock())


def views(site: Site, cold: Cold, value: Callable[[str], str]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Each view by name, and what asks for it once; `value` gives a value for a part of an address.

    cold: what the site remembers in.
    """
    app = FastAPI()
    add_pages(app, Pages(site))
    client = TestClient(app, base_url="http://127.0.0.1:8401")
    for name, address in VIEWS.items():
        yield f"page: {name}", lambda address=address: _asked(cold, client, address, value)


def _asked(cold: Cold, client: TestClient, address: str, value: Callable[[str], str]) -> None:
    names = ("pattern", "pair", "trajectory", "version")
    cold.forget()
    filled = address.format(**{name: value(name) for name in names if f"{{{name}}}" in address})
    response = client.get(filled)
    if response.status_code != 200 or not response.headers["content-type"].startswith("text/html"):
        raise RuntimeError(f"{filled} answered {response.status_code}: {response.text[:300]}")
