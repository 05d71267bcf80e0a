"""A vLLM server that the student server starts for itself, for one base, and ends with it.

It listens on loopback only, for its API to load adapters is open to whoever reaches it.
"""

import os
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
        """`command` is what stands before the model, such as `vllm serve`; `adapters` so many may be loaded at once.

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
        words = [*command, str(weights), "--enable-lora", *(word for pair in given.items() for word in pair)]
        environment = {**os.environ, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("ab") as output:
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
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"The end of {self._log}: {' / '.join(lines[-3:])}" if lines else f"{self._log} is empty."


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
