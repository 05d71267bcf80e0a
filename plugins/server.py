"""The Tutelage server as plugins see it: where outcomes and records are posted, in the background.

One `Server` per address and key for the whole process, however many handlers an agent makes: they share one queue and
one thread. Nothing here raises into the agent; see `outbox` for what is kept when the server is away.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from .outbox import Outbox, OutboxStats, Parcel, Receipt

URL_ENV, KEY_ENVS = "TUTELAGE_URL", ("TUTELAGE_API_KEY", "OPENAI_API_KEY")
DEFAULT_URL = "http://127.0.0.1:8400/v1"
FEEDBACK, RECORDS = "/feedback", "/tutelage/records"
LONGEST_COMMENT = 1000
_AGAIN = (408, 409, 425, 429)
_LONGEST_AFTER_S = 60.0


def url_of(url: str = "") -> str:
    """The base URL, with its `/v1`: as given, else from TUTELAGE_URL, else that of a server on this machine.

    Raises ValueError for what is no HTTP URL.
    """
    found = (url or os.environ.get(URL_ENV, "") or DEFAULT_URL).rstrip("/")
    if urlsplit(found).scheme not in ("http", "https") or not urlsplit(found).hostname:
        raise ValueError(f"Expected the address of a Tutelage server like {DEFAULT_URL}, got {found!r}.")
    return found if found.endswith("/v1") else f"{found}/v1"


def key_of(key: str = "") -> str:
    """The key: as given, else from TUTELAGE_API_KEY, else from OPENAI_API_KEY, else none."""
    return key or next((found for name in KEY_ENVS if (found := os.environ.get(name, "").strip())), "")


def is_local(url: str) -> bool:
    """Whether the address is this machine's, so that no proxy of the environment lies in between."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


class Server:
    """Posts to one server. Thread-safe."""

    def __init__(
        self,
        url: str = "",
        key: str = "",
        *,
        source: str = "plugin",
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.time,
        **outbox: Any,
    ) -> None:
        """url, key: see `url_of` and `key_of`. source: who says it. Further arguments are the outbox's."""
        self.url, self.source, self.clock = url_of(url), source, clock
        self._key, self._transport = key_of(key), transport
        self._client: httpx.Client | None = None
        self._client_of = 0
        self.outbox = Outbox(self._deliver, **outbox)

    def feedback(
        self, metric: str, value: bool | float | str, *, trajectory: str = "", call_id: str = "", comment: str = ""
    ) -> None:
        """Say something about a run, or else about a call (by `x-tutelage-call-id` or the provider's id of it)."""
        said: dict[str, Any] = {"metric": metric, "value": value, "source": self.source}
        said |= {"trajectory": trajectory} if trajectory else {"call_id": call_id}
        # An id of its own: a post that is repeated because its answer got lost counts once.
        said["id"] = os.urandom(12).hex()
        if comment:
            said["comment"] = comment if len(comment) <= LONGEST_COMMENT else comment[: LONGEST_COMMENT - 1] + "…"
        self.outbox.put(FEEDBACK, _encoded(said))

    def record(self, logged: Mapping[str, Any]) -> None:
        """Hand a call over that did not go through the proxy; its form is that of `POST /v1/tutelage/records`."""
        self.outbox.put(RECORDS, _encoded(logged))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all is delivered; False when that took longer than `timeout` seconds."""
        return self.outbox.flush(timeout)

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Deliver what waits and take nothing more; False when something was left after `timeout` seconds."""
        done = self.outbox.close(timeout)
        if self._client is not None:
            self._client.close()
        return done

    @property
    def stats(self) -> OutboxStats:
        """What was delivered, what waits, what was lost."""
        return self.outbox.stats

    # The rest runs in the outbox's thread.

    def _deliver(self, parcels: Sequence[Parcel]) -> Receipt:
        try:
            if parcels[0].kind == RECORDS:
                return self._post_records(parcels)
            return self._post_each(parcels)
        except Exception as error:  # a fault of ours must not end the thread, nor repeat for ever
            return Receipt(problem=f"{type(error).__name__}: {error}", refused=len(parcels))

    def _post_records(self, parcels: Sequence[Parcel]) -> Receipt:
        source = msgspec.json.encode(self.source)
        body = b'{"source":%b,"records":[%b]}' % (source, b",".join(parcel.body for parcel in parcels))
        receipt, told = self._post(RECORDS, body, len(parcels))
        if isinstance(told, dict) and told.get("rejected"):
            return Receipt(problem=f"Records were rejected: {told.get('problems')}"[:500], refused=told["rejected"])
        return receipt

    def _post_each(self, parcels: Sequence[Parcel]) -> Receipt:
        refused, problem = 0, ""
        for parcel in parcels:
            receipt, _ = self._post(parcel.kind, parcel.body, 1)
            if receipt.again:
                return receipt  # those before it come again too: their ids make that harmless
            refused, problem = refused + receipt.refused, problem or receipt.problem
        return Receipt(refused=refused, problem=problem)

    def _post(self, path: str, body: bytes, count: int) -> tuple[Receipt, Any]:
        try:
            response = self._http().post(self.url + path, content=body, headers=self._headers())
        except (httpx.HTTPError, OSError) as error:
            return Receipt(again=True, problem=f"{self.url} cannot be reached: {error or type(error).__name__}"), None
        if response.is_success:
            return Receipt(), _json(response)
        problem = f"{self.url}{path} answers {response.status_code}: {response.text[:300]}"
        if response.status_code in _AGAIN or response.status_code >= 500:
            return Receipt(again=True, after_s=_after(response), problem=problem), None
        return Receipt(problem=problem, refused=count), None

    def _http(self) -> httpx.Client:
        if self._client is None or self._client_of != os.getpid():
            trust = not is_local(self.url)
            self._client = httpx.Client(timeout=10.0, trust_env=trust, transport=self._transport)
            self._client_of = os.getpid()
        return self._client

    def _headers(self) -> dict[str, str]:
        known = {"content-type": "application/json"}
        return known | {"authorization": f"Bearer {self._key}"} if self._key else known


_servers: dict[tuple[str, str, str], Server] = {}
_making = Lock()


def shared(url: str = "", key: str = "", source: str = "plugin") -> Server:
    """The process's server of this address, key and source. Raises ValueError for what is no HTTP URL."""
    name = (url_of(url), key_of(key), source)
    with _making:
        found = _servers.get(name)
        if found is None or found.outbox.closed:
            found = _servers[name] = Server(*name[:2], source=source)
        return found


def _encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError):
        # Lone surrogates, huge numbers and objects of strangers: said as well as JSON can.
        return json.dumps(value, default=str).encode()


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _after(response: httpx.Response) -> float:
    try:
        return min(max(float(response.headers.get("retry-after", "0")), 0.0), _LONGEST_AFTER_S)
    except ValueError:
        return 0.0
