"""What the small examples stand on: a proxy of their own in a temporary folder, before a teacher.

The teacher is the scripted one of the parcel desk, so that every example runs offline and says the same each time; with
`OPENAI_API_KEY` set it is the provider at `OPENAI_BASE_URL` (OpenAI's own without it), asked for `OPENAI_MODEL`. An
example takes a `Place` and knows nothing of all that: with an agent of your own, its URL is the one of your proxy.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .demo_world import World, free_port

OPENAI = "https://api.openai.com/v1"
WAIT_S = 60.0
"""Longest wait for something to appear in the store; it is usually there within two seconds."""

UNKNOWN = ("", "open")
"""Sources of an outcome that mean that there is none yet."""


@dataclass(frozen=True)
class Place:
    """Where an example works."""

    url: str
    """The proxy's base URL, as an OpenAI client wants it."""
    key: str
    model: str
    world: World

    def ask(self, path: str) -> Any:
        """What the admin API says."""
        return self.world.ask(path)

    def wait(self, path: str, ready: Callable[[Any], Any]) -> Any:
        """What the admin API says once `ready` is content with it. Raises TimeoutError when it never is."""
        deadline = time.monotonic() + WAIT_S
        while not ready(said := self.ask(path)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} did not become what the example waits for; it last said: {said}")
            time.sleep(0.2)
        return said

    def run(self, name: str, source: str = "") -> dict[str, Any]:
        """The run that an agent gave this name: its calls, messages, children and outcome.

        Waits until the outcome is known; from this `source`, where one is given: what was posted comes after a guess.
        """
        path = "/api/trajectories?limit=1000"

        def known(rows: list[dict[str, Any]]) -> bool:
            found = [row["success_source"] for row in rows if row["trajectory_id"] == f"x:{name}"]
            return any(one == source if source else one not in UNKNOWN for one in found)

        self.wait(path, known)
        return self.ask(f"/api/trajectories/x:{name}")


@contextmanager
def opened(settings: str = "") -> Iterator[Place]:
    """A proxy and its control plane, with these settings outside of tables (TOML); both end with the block."""
    key = os.environ.get("OPENAI_API_KEY", "")
    with World(upstream=os.environ.get("OPENAI_BASE_URL", OPENAI) if key else "") as world:
        world.ports = {name: free_port(0) for name in world.ports}  # a demo may run beside it
        world.config.write_text(settings + world.config.read_text())
        world.start()
        yield Place(world.base_url, key or "sk-anything", os.environ.get("OPENAI_MODEL", "gpt-5-mini"), world)
