"""Reading stored conversations back: message chains, requests and answers, one at a time or hundreds at once.

Messages are stored once and linked to their parent, so a request is its parameters, its tool set, and the walk from
its last message up to the first. The batch forms fetch every message once, however many chains it belongs to; the
dicts they return may therefore be shared between chains and must not be changed.
"""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from .canonical import loads
from .errors import BadInput, UnknownName
from .lookup import bodies_of, by_ids, links_of, links_up
from .store import Store

Message = dict[str, Any]

_CALLS = """
SELECT c.call_id, c.params, c.request_tail, c.response_id, t.body, c.request_raw
FROM calls c LEFT JOIN toolsets t USING (toolset_id) WHERE c.call_id IN ({ids})
"""


class Conversations:
    """What was said up to some messages, the `ends`: where they stand, and, once `read`, what they say."""

    def __init__(self, store: Store, ends: Collection[str]) -> None:
        self._store = store
        self._links = links_up(store, {UUID(name) for name in ends})
        self._depths: dict[UUID, int] = {}
        self._read: dict[UUID, Message] = {}

    def __contains__(self, message_id: str) -> bool:
        """Whether a message is one of the ends, or before one; what was removed before it was read is not."""
        return UUID(message_id) in self._links

    def depth(self, message_id: str) -> int:
        """Messages before this one, which must be known."""
        before: list[UUID] = []
        at = UUID(message_id)
        while at in self._links and at not in self._depths:
            before.append(at)
            at = self._links[at].parent_id
        depth = self._depths.get(at, -1)
        for name in reversed(before):
            depth = self._depths[name] = depth + 1
        return depth

    def read(self, tails: Collection[str], single: Collection[str] = ()) -> None:
        """Fetch the messages that lead to these tails, and single ones; all of them must be known."""
        wanted: set[UUID] = set()
        for tail in tails:
            at = UUID(tail)
            while at in self._links and at not in wanted:
                wanted.add(at)
                at = self._links[at].parent_id
        wanted = wanted.union(UUID(name) for name in single) - self._read.keys()
        bodies = bodies_of(self._store, {name: self._links[name] for name in wanted})
        self._read |= {name: loads(body.encode()) for name, body in bodies.items()}
        for name in wanted - bodies.keys():
            del self._links[name]

    def chain(self, tail: str) -> list[Message]:
        """The messages from the first to `tail`, which must have been read."""
        chain: list[Message] = []
        at = UUID(tail)
        while at in self._links:
            chain.append(self._read[at])
            at = self._links[at].parent_id
        return chain[::-1]

    def message(self, message_id: str) -> Message:
        """One message, which must have been read."""
        return self._read[UUID(message_id)]


def chains_of(store: Store, tails: Collection[str]) -> dict[str, list[Message]]:
    """For each tail message id the messages from the first to it. Unknown ids are left out."""
    found = Conversations(store, tails)
    found.read([tail for tail in tails if tail in found])
    return {tail: found.chain(tail) for tail in tails if tail in found}


def messages_of(store: Store, tail_id: str) -> list[Message]:
    """The messages from the first of the conversation to `tail_id`. Raises UnknownName."""
    found = chains_of(store, [tail_id])
    if tail_id not in found:
        raise UnknownName(f"There is no message {tail_id!r} in the store.")
    return found[tail_id]


def requests_of(store: Store, call_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """The OpenAI request bodies of many calls, by call id as given.

    Calls that are unknown, or whose request was kept as raw bytes because it is no chat request, are left out.
    """
    rows = _by_call(store, _CALLS, call_ids)
    chains = chains_of(store, {str(row[2]) for row in rows.values() if row[2] is not None})
    tools: dict[str, Any] = {}
    return {call_id: _request(row, chains, tools) for call_id, row in rows.items() if row[2] is not None}


def request_of(store: Store, call_id: str) -> dict[str, Any]:
    """The OpenAI request body of one call. Raises UnknownName, or BadInput when it is no chat request."""
    found = requests_of(store, [call_id])
    if call_id in found:
        return found[call_id]
    if not _by_call(store, _CALLS, [call_id]):
        raise UnknownName(f"There is no call {call_id!r} in the store.")
    raise BadInput(f"The request of call {call_id} is no chat request; only its raw bytes are stored.")


def answers_of(store: Store, call_ids: Collection[str]) -> dict[str, Message | None]:
    """The assistant messages that calls were answered with, by call id; None where there was no whole answer."""
    rows = _by_call(store, "SELECT call_id, response_id FROM calls WHERE call_id IN ({ids})", call_ids)
    bodies = bodies_of(store, links_of(store, {said for _, said in rows.values() if said is not None}))
    return {call_id: loads(bodies[said].encode()) if said in bodies else None for call_id, (_, said) in rows.items()}


def answer_of(store: Store, call_id: str) -> Message | None:
    """The assistant message that a call was answered with; None when there was none. Raises UnknownName."""
    found = answers_of(store, [call_id])
    if call_id not in found:
        raise UnknownName(f"There is no call {call_id!r} in the store.")
    return found[call_id]


def _by_call(store: Store, sql: str, call_ids: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """Rows of a query for calls by their id as given; ids that are no UUID at all are unknown, not an error."""
    given = {parsed: call_id for call_id in call_ids if (parsed := _uuid(call_id))}
    return {given[row[0]]: row for row in by_ids(store, sql, given.keys())}


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _request(row: tuple[Any, ...], chains: Mapping[str, list[Message]], tools: dict[str, Any]) -> dict[str, Any]:
    request = {**loads((row[1] or "{}").encode()), "messages": chains[str(row[2])]}
    if row[4] is not None:
        if row[4] not in tools:
            tools[row[4]] = loads(row[4].encode())
        request["tools"] = tools[row[4]]
    return request
