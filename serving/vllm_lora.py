"""Adapters of a running vLLM: loaded and unloaded over its HTTP API.

A version's name is its digest's, so a name never stands for other weights; vLLM's prefix cache, which knows names and
not files, cannot hand out a state of an older adapter. vLLM must run with `--enable-lora` and with
VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and must see the adapters' folders.
"""

import logging
from pathlib import Path

import httpx

from ..traffic.errors import BadInput, TutelageError
from ..traffic.students import ADAPTER

_TIMEOUT_S = 120.0
_log = logging.getLogger(__name__)


class VllmAdapters:
    """Loads and unloads adapters of one server."""

    def __init__(
        self,
        base_url: str,
        *,
        key: str = "",
        here: Path | None = None,
        there: str = "",
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`base_url` ends with `/v1`. Where the server sees the folder `here` under another path, that is `there`."""
        self._url, self._here, self._there = base_url.rstrip("/"), here, there
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._transport = transport

    def load(self, name: str, path: Path) -> None:
        """Load the peft adapter at `path`, or beside it where that is the GGUF. Raises TutelageError."""
        folder = path if path.is_dir() else path.parent / ADAPTER
        if not folder.is_dir():
            raise BadInput(f"vLLM loads peft adapters; expected one in {folder}.")
        answer = self._post("load_lora_adapter", {"lora_name": name, "lora_path": self._seen(folder)})
        if answer.status_code == 200 or "already" in answer.text:
            return
        advice = "Start vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."
        why = advice if answer.status_code == 404 else answer.text[:300]
        raise TutelageError(f"vLLM did not load {name} ({answer.status_code}): {why}")

    def unload(self, name: str) -> None:
        """Let an adapter go. A failure is logged: it costs the server memory, and no answer."""
        try:
            answer = self._post("unload_lora_adapter", {"lora_name": name})
        except TutelageError as error:
            _log.warning("The adapter %s stays loaded: %s", name, error)
            return
        if answer.status_code not in (200, 404):
            _log.warning("vLLM did not unload %s (%d): %s", name, answer.status_code, answer.text[:300])

    def _seen(self, folder: Path) -> str:
        """The folder's path as the server knows it."""
        if self._here is None or not self._there:
            return str(folder.resolve())
        return f"{self._there.rstrip('/')}/{folder.resolve().relative_to(self._here.resolve()).as_posix()}"

    def _post(self, action: str, body: dict[str, str]) -> httpx.Response:
        try:
            # Versions change rarely: no connection is kept for them.
            with httpx.Client(timeout=_TIMEOUT_S, transport=self._transport, trust_env=False) as client:
                return client.post(f"{self._url}/{action}", json=body, headers=self._headers)
        except httpx.HTTPError as error:
            raise TutelageError(f"vLLM at {self._url} does not answer: {error or type(error).__name__}") from error
