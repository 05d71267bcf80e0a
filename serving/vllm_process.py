"""A vLLM server that the student server starts for itself, for one base, and ends with it.

It listens on loopback only, for its API to load adapters is open to whoever reaches it.
"""

import os
import re
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from ..traffic.errors import BadInput

STARTING_S = 900.0
"""Longest start: large models are read, compiled and warmed up."""
_LOOK_S, _STOPPING_S = 0.2, 20.0
LARGEST_RANK = 64
_CAUSE = re.compile(r"^(?:\(.*?\) ERROR .*?\] )?([\w.]+(?:Error|Exception): .+(?:\n +Value error, .+)?)", re.M)
"""The first exception in vLLM's log, whichever of its processes told it."""


class VllmProcess:
    """`url` is its base URL once the constructor has returned."""

    def __init__(
        self,
        command: Sequence[str],
        weights: Path,
        name: str,
        *,
        context: int,
        adapters: int,
        log: Path,
        starting_s: float = STARTING_S,
    ) -> None:
        """`command` is `vllm serve`, with options where they are wanted; `adapters` so many may be loaded at once.

        Raises BadInput, with the end of its log, when it cannot be started or does not come up."""
        port = _free_port()
        self.url, self._log = f"http://127.0.0.1:{port}/v1", log
        given = {
            "--served-model-name": name,
            "--host": "127.0.0.1",
            "--port": str(port),
            "--max-model-len": str(context),
            "--max-loras": str(adapters),
            "--max-lora-rank": str(LARGEST_RANK),
        }
        words = [*_naming(command, weights), "--enable-lora", *(word for pair in given.items() for word in pair)]
        environment = {**os.environ, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("ab") as output:
                self._begun = output.tell()
                self._process = subprocess.Popen(words, env=environment, stdout=output, stderr=output)
        except OSError as error:
            raise BadInput(f"vLLM cannot be started ({error}). Install it, or set serving.engine_command.") from error
        try:
            self._wait(starting_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it: politely, then for good."""
        self._process.terminate()
        try:
            self._process.wait(_STOPPING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait(self, longest: float) -> None:
        until = time.monotonic() + longest
        with httpx.Client(trust_env=False, timeout=5) as client:
            while time.monotonic() < until:
                if (code := self._process.poll()) is not None:
                    raise BadInput(f"vLLM ended with {code} while it started. {self._told()}")
                with suppress(httpx.HTTPError):
                    if client.get(f"{self.url.removesuffix('/v1')}/health").status_code == 200:
                        return
                time.sleep(_LOOK_S)
        raise BadInput(f"vLLM was not ready after {longest:g} s. {self._told()}")

    def _told(self) -> str:
        # The log is kept from start to start: what stood there before tells of another one.
        said = self._log.read_bytes()[self._begun :].decode(errors="replace").strip()
        if cause := _CAUSE.search(said):
            # Its last lines only tell that a process of its own has failed.
            return f"{self._log} says: {' '.join(cause[1].split())[:500]}"
        return (
            f"The end of {self._log}: {' / '.join(said.splitlines()[-3:])}" if said else f"{self._log} has nothing new."
        )


def _naming(command: Sequence[str], weights: Path) -> list[str]:
    """The command with the model at its place: vLLM wants it right after `serve`, before all options."""
    words = list(command)
    at = words.index("serve") + 1 if "serve" in words else len(words)
    return [*words[:at], str(weights), *words[at:]]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
