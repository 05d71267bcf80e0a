"""How commands reach the control plane: over HTTP while one runs, else the same API inside the command's process.

There is one code path and so one answer: without a running control plane the client takes the lock, opens the store,
ingests what the journal holds, and talks to the very application that `serve` would run.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

import httpx

from ..traffic import errors
from ..traffic.errors import DataFolderLocked, TutelageError
from ..traffic.layout import DataDir
from .control_lock import read_owner
from .options import ControlOptions

START_WAIT_S = 10.0
"""Longest wait for a control plane that holds the lock but does not answer yet (it is starting), in seconds."""
LOCK_WAIT_S = 3.0
"""Longest wait for another command that has the store, in seconds."""


class Sender(Protocol):
    """Sends one request and returns the response; `close` frees what it holds."""

    def request(self, method: str, path: str, params: dict[str, Any], body: Any) -> httpx.Response: ...

    def close(self) -> None: ...


class HttpSender:
    """Over HTTP, waiting a little for a control plane that is just starting."""

    def __init__(self, url: str, timeout_s: float = 60.0, token: str = "") -> None:
        # The address is always ours, so proxies named in the environment must not be asked.
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(base_url=url, timeout=timeout_s, trust_env=False, headers=headers)
        self.url = url

    def request(self, method: str, path: str, params: dict[str, Any], body: Any) -> httpx.Response:
        until = time.monotonic() + START_WAIT_S
        while True:
            try:
                return self._client.request(method, path, params=params, json=body)
            except httpx.ConnectError as error:
                if time.monotonic() > until:
                    raise TutelageError(
                        f"The control plane at {self.url} does not answer ({error}). "
                        "Look at its log in the data folder's logs/, or stop it and try again."
                    ) from error
                time.sleep(0.1)

    def close(self) -> None:
        self._client.close()


class LocalSender:
    """The same application in this process."""

    def __init__(self, app: Any, close: Callable[[], None]) -> None:
        self._transport = httpx.ASGITransport(app=app)
        self._close = close

    def request(self, method: str, path: str, params: dict[str, Any], body: Any) -> httpx.Response:
        return asyncio.run(self._send(method, path, params, body))

    async def _send(self, method: str, path: str, params: dict[str, Any], body: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, params=params, json=body)

    def close(self) -> None:
        self._close()


class AdminClient:
    """`get` and `post` on the admin API (see docs/admin-api.md). Use it as a context manager, or call `close`."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    @classmethod
    def open(cls, data: DataDir, options: ControlOptions | None = None) -> "AdminClient":
        """Connect to the control plane of `data`, or become it for as long as this client is open.

        `options` are used in the second case only. Raises DataFolderLocked when another command has the store.
        """
        from .control import ControlPlane

        until = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                plane = ControlPlane.open(data, options or ControlOptions(data=str(data.root), teacher_url=""))
                break
            except DataFolderLocked:
                if url := read_owner(data).url:
                    # Here, because it brings the web framework along, which no other command needs.
                    from .access import read_token

                    return cls(HttpSender(url, token=read_token(data)))
                # Another command, done in a moment; or a control plane that has not written its address yet.
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        plane.catch_up()
        return cls(LocalSender(plane.app, plane.close))

    def get(self, path: str, **params: Any) -> Any:
        """The decoded answer. Parameters that are None are left out. Raises the API's error as a TutelageError."""
        return self._send("GET", path, {name: value for name, value in params.items() if value is not None}, None)

    def post(self, path: str, body: Any = None) -> Any:
        """Send `body` as JSON; returns the decoded answer."""
        return self._send("POST", path, {}, {} if body is None else body)

    def put(self, path: str, body: Any) -> Any:
        """Send `body` as JSON in the place of what is there; returns the decoded answer."""
        return self._send("PUT", path, {}, body)

    def close(self) -> None:
        """Close the connection, or the store and the lock."""
        self._sender.close()

    def __enter__(self) -> "AdminClient":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _send(self, method: str, path: str, params: dict[str, Any], body: Any) -> Any:
        response = self._sender.request(method, path, params, body)
        if response.status_code >= 400:
            raise error_of(response)
        return response.json()


def error_of(response: httpx.Response) -> TutelageError:
    """The error that the API reported, as the class it was there; TutelageError when it is none of ours."""
    try:
        detail = response.json()["error"]
        kind, message = str(detail["type"]), str(detail["message"])
    except (ValueError, KeyError, TypeError):
        return TutelageError(f"The control plane answered {response.status_code}: {response.text[:200]}")
    found = getattr(errors, kind, TutelageError)
    # MissingExtra builds its own message and takes other arguments.
    if not (isinstance(found, type) and issubclass(found, TutelageError)) or found is errors.MissingExtra:
        found = TutelageError
    return found(message)
