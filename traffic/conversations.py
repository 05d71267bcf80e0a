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


def chains_of(store: Store, tails: Collection[str], near: Collection[str] = ()) -> dict[str, list[Message]]:
    """For each tail message id the messages from the first to it. Unknown ids are left out.

    near: ids of messages that may lie on the way, such as the tails of earlier calls: to know them saves time.
    """
    links, bodies = _walk(store, {UUID(tail) for tail in tails}, {UUID(name) for name in near})
    decoded: dict[UUID, Message] = {}
    return {tail: _chain(UUID(tail), links, bodies, decoded) for tail in tails if UUID(tail) in links}


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
    rows = _calls(store, call_ids)
    chains = chains_of(store, {str(row[2]) for row in rows.values() if row[2] is not None})
    tools: dict[str, Any] = {}
    return {call_id: _request(row, chains, tools) for call_id, row in rows.items() if row[2] is not None}


def request_of(store: Store, call_id: str) -> dict[str, Any]:
    """The OpenAI request body of one call. Raises UnknownName, or BadInput when it is no chat request."""
    found = requests_of(store, [call_id])
    if call_id in found:
        return found[call_id]
    if not _calls(store, [call_id]):
        raise UnknownName(f"There is no call {call_id!r} in the store.")
    raise BadInput(f"The request of call {call_id} is no chat request; only its raw bytes are stored.")


def answers_of(store: Store, call_ids: Collection[str]) -> dict[str, Message | None]:
    """The assistant messages that calls were answered with, by call id; None where there was no whole answer."""
    rows = _calls(store, call_ids)
    bodies = bodies_of(store, links_of(store, {row[3] for row in rows.values() if row[3] is not None}))
    return {call_id: loads(bodies[row[3]].encode()) if row[3] in bodies else None for call_id, row in rows.items()}


def answer_of(store: Store, call_id: str) -> Message | None:
    """The assistant message that a call was answered with; None when there was none. Raises UnknownName."""
    found = answers_of(store, [call_id])
    if call_id not in found:
        raise UnknownName(f"There is no call {call_id!r} in the store.")
    return found[call_id]


def _walk(store: Store, tails: set[UUID], near: set[UUID]) -> tuple[dict[UUID, UUID], dict[UUID, str]]:
    links = links_up(store, tails, near)
    bodies = bodies_of(store, links)
    # What was removed in between is unknown.
    return {name: link.parent_id for name, link in links.items() if name in bodies}, bodies


def _chain(
    tail: UUID, links: Mapping[UUID, UUID], bodies: Mapping[UUID, str], decoded: dict[UUID, Message]
) -> list[Message]:
    chain: list[Message] = []
    at = tail
    while at in links:
        if at not in decoded:
            decoded[at] = loads(bodies[at].encode())
        chain.append(decoded[at])
        at = links[at]
    return chain[::-1]


def _calls(store: Store, call_ids: Collection[str]) -> dict[str, tuple[Any, ...]]:
    """Rows of `_CALLS` by call id as given; ids that are no UUID at all are unknown, not an error."""
    given = {parsed: call_id for call_id in call_ids if (parsed := _uuid(call_id))}
    return {given[row[0]]: row for row in by_ids(store, _CALLS, given.keys())}


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
