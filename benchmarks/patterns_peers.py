"""What others would take for a pattern, on the same calls and with the same yardstick as ours.

    sha of prompt     SHA-256 of the system prompt, the tools as sent, and the role of the last message
    tool names        the sorted names of the tools and the role of the last message
    Drain3            the log template miner (He et al. 2017; package drain3) over the system prompt as one line, one
                      miner for each set of tool names and role, with its default settings

Each gives a call its id at once. Drain3 is left out, and said to be, where it is not installed.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from typing import Any

Row = dict[str, Any]
Peer = Callable[[Row], str]


def sha_of_prompt() -> Peer:
    """An id for each different prompt and tool set, byte for byte."""

    def identify(body: Row) -> str:
        state = hashlib.sha256(_prompt(body).encode())
        state.update(json.dumps(body["tools"]).encode())
        state.update(body["messages"][-1]["role"].encode())
        return state.hexdigest()

    return identify


def tool_names() -> Peer:
    """An id for each set of tool names."""
    return _names


def drain3() -> Peer | None:
    """An id for each template that Drain3 finds; None where it is not installed."""
    try:
        from drain3.drain import Drain
    except ImportError:
        return None
    miners: dict[str, Any] = {}

    def identify(body: Row) -> str:
        key = _names(body)
        miner = miners.setdefault(key, Drain())
        cluster, _ = miner.add_log_message(" ".join(_prompt(body).split()))
        return f"{key} {cluster.cluster_id}"

    return identify


PEERS: dict[str, Callable[[], Peer | None]] = {
    "sha of prompt": sha_of_prompt,
    "tool names": tool_names,
    "Drain3": drain3,
}


def identified(peer: Peer, bodies: Iterable[Row]) -> tuple[list[str], list[float]]:
    """The id of each call and the microseconds it took."""
    ids: list[str] = []
    times: list[float] = []
    for body in bodies:
        start = time.perf_counter()
        ids.append(peer(body))
        times.append((time.perf_counter() - start) * 1e6)
    return ids, times


def _names(body: Row) -> str:
    return ",".join(sorted(tool["function"]["name"] for tool in body["tools"])) + " " + body["messages"][-1]["role"]


def _prompt(body: Row) -> str:
    first = body["messages"][0]
    return str(first.get("content") or "") if first["role"] == "system" else ""
