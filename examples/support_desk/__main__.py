"""The support desk at work: customers through the proxy, judged by the database, and what was learned of them.

    python -m tutelage.examples.support_desk [CUSTOMERS]

You see the desk's last words to some customers, the patterns that were found, and how many runs went well, as the
database says. At the half the teacher begins to write order numbers without their hyphen: no tool finds them then, and
the verifier tells these runs from the good ones, so that no student learns from them. `support_desk.story` goes on.
"""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from openai import OpenAI

from ..demo_world import World, free_port
from ..place import WAIT_S, Place
from .agent import DATABASE, serve
from .customers import customers
from .shop import Shop

SETTINGS = 'verifiers = ["tutelage.examples.support_desk.agent:it_was_done"]\n'
SHOWN = 5


@contextmanager
def opened(data: Path | None = None) -> Iterator[Place]:
    """The teacher, the surroundings of a proxy, which the caller starts (`place.world.start()`), and an empty shop."""
    port = free_port(0)
    teacher = subprocess.Popen([sys.executable, "-m", "tutelage.examples.support_desk.teacher", "--port", str(port)])
    try:
        with (
            TemporaryDirectory(prefix="support-desk-") as folder,
            World(data, f"http://127.0.0.1:{port}/v1") as world,
        ):
            os.environ[DATABASE] = str(Path(folder) / "shop.sqlite")
            world.ports = {name: free_port(0) for name in world.ports} | {"teacher": port}
            world.config.write_text(SETTINGS + world.config.read_text())
            _wait(f"{world.teacher}/v1/models")
            yield Place(world.base_url, "sk-desk", "desk-large", world)
    finally:
        os.environ.pop(DATABASE, None)
        teacher.terminate()
        teacher.wait(20)


def _wait(url: str) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(retries=20), trust_env=False, timeout=WAIT_S) as client:
        client.get(url).raise_for_status()


def work(place: Place, count: int) -> None:
    """Serve so many customers; from the half on the teacher writes numbers in another way."""
    shop = Shop(Path(os.environ[DATABASE]))
    with OpenAI(base_url=place.url, api_key=place.key, max_retries=0) as client:
        for number, customer in enumerate(islice(customers(shop, 7), count)):
            if number == count // 2:
                place.world.change_teacher(plain_numbers=True)
            said = serve(client, place.model, shop, customer, f"customer-{number}")
            if number < SHOWN:
                print(f"{customer.text}\n    {said}")
    shop.close()


def main(place: Place, count: int = 60) -> None:
    """Serve, then look at what the log knows."""
    place.world.start()
    work(place, count)
    path = "/api/trajectories?limit=1000"
    runs = place.wait(path, lambda rows: sum(row["success_source"].startswith("verifier:") for row in rows) == count)
    for row in place.ask("/api/patterns"):
        print(f"Pattern {row['name']} ({row['role']}): {row['calls']} calls")
    halves = Counter((int(row["trajectory_id"].rpartition("-")[2]) < count // 2, row["success"]) for row in runs)
    for name, half in (("first", True), ("second", False)):
        print(f"Of the {name} {count // 2} runs {halves[half, True]} went well.")
    print("A student would learn from these: tutelage distill run")


if __name__ == "__main__":
    with opened() as found:
        main(found, int(sys.argv[1]) if sys.argv[1:] else 60)
