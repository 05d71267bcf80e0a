"""What a model call tells the proxy about itself: the names of its run, in headers of the request.

Frameworks announce a call before it is sent, but offer no way to change what is sent. So the announcement leaves the
names in a context variable, and a hook of the HTTP client puts them on the request. Invariant: names go out once per
call (and with the client library's own retries of it), and nothing here can fail a request.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any
from urllib.parse import quote

TRAJECTORY, PARENT = "x-tutelage-trajectory", "x-tutelage-parent"
CONVERSATION, PATTERN = "x-tutelage-conversation", "x-tutelage-pattern"
CALL_ID = "x-tutelage-call-id"
LONGEST_NAME = 200
_RETRY = "x-stainless-retry-count"
_PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""Beside letters and digits; the percent sign is left out, so no two names become one."""


def name_of(text: object) -> str:
    """The name as it goes over the wire: printable ASCII, anything else percent-encoded; a long one ends in a hash."""
    name = quote(str(text).strip(), safe=_PLAIN, errors="replace")
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 17]}~{blake2b(name.encode(), digest_size=8).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Tag:
    """Names of one call, as `name_of` gives them; empty: the proxy finds out itself."""

    trajectory: str = ""
    parent: str = ""
    conversation: str = ""
    pattern: str = ""

    def headers(self) -> dict[str, str]:
        """The headers that say it."""
        said = {
            TRAJECTORY: self.trajectory,
            PARENT: self.parent,
            CONVERSATION: self.conversation,
            PATTERN: self.pattern,
        }
        return {name: value for name, value in said.items() if value}


@dataclass(slots=True, eq=False)
class Announced:
    """A model call that is about to be sent."""

    tag: Tag
    sent: dict[str, str] = field(default_factory=dict)
    """The headers that were put on its request; empty when it did not go through a client with the hook."""
    call_id: str = ""
    """The proxy's name of it, once it has been answered through a client that reads answers too."""


CURRENT: ContextVar[Announced | None] = ContextVar("tutelage_call", default=None)


def tag_request(request: Any) -> None:
    """Put the names of the announced call on a request of httpx or httpx2; those that it has already stay."""
    call = CURRENT.get()
    # A second request that is no retry belongs to a call that nobody announced.
    if call is None or (call.sent and request.headers.get(_RETRY, "0") == "0"):
        return
    call.sent = call.tag.headers()
    for name, value in call.sent.items():
        request.headers.setdefault(name, value)


async def tag_request_async(request: Any) -> None:
    """The same for asynchronous clients."""
    tag_request(request)


async def note_answer_async(response: Any) -> None:
    """A hook for answers: keep what the proxy calls the announced call. Only for clients with `tag_request_async`."""
    call = CURRENT.get()
    if call is not None and call.sent:
        call.call_id = response.headers.get(CALL_ID, "")


def tag_requests(client: Any, *, is_async: bool = False) -> Any:
    """Add the hook to a client of httpx or httpx2 (`is_async` for an `AsyncClient`); returns the client."""
    hooks = client.event_hooks
    client.event_hooks = {
        **hooks,
        "request": [*hooks.get("request", ()), tag_request_async if is_async else tag_request],
    }
    return client
