"""What one call is about, read from its headers and its parsed body. Pure: no clock, no disk, no network.

The session key must be the same for every call of one agent run without remembering anything, for a run's calls may
reach different workers. So it hashes what all of them repeat: the caller and the conversation's opening. System lines
are left out, because a clock in the system prompt would give each call a session of its own.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from ..traffic.answers import clean

OPENING_ROLES_LEFT_OUT = ("system", "developer")
TRAJECTORY_HEADER = "x-tutelage-trajectory"
PATTERN_HEADER = "x-tutelage-pattern"
PARENT_HEADER = "x-tutelage-parent"
CONVERSATION_HEADER = "x-tutelage-conversation"
"""Names what several runs have in common, such as a thread: all of them are routed alike."""
TRAJECTORY_KEY = "tutelage_trajectory"
"""Key in the request's `metadata` that names the trajectory; the header wins."""
PATTERN_KEY = "tutelage_pattern"
PARENT_KEY = "tutelage_parent"
CONVERSATION_KEY = "tutelage_conversation"

_sorted = msgspec.json.Encoder(order="deterministic")


class CallFacts(msgspec.Struct, frozen=True):
    """A chat call as the routing decision sees it."""

    body: dict[str, Any]
    """The parsed request."""
    size: int
    """Bytes of the request body."""
    caller: str
    """Keyed hash of the agent's key, empty when it sent none."""
    session: str
    """Session key, 32 hex digits; see `session_key`."""
    trajectory: str = ""
    """Trajectory named by the agent, empty when it named none."""
    hint: str = ""
    """Pattern named by the agent, empty when it named none."""
    parent: str = ""
    """The run that has started this one, empty when the agent named none."""
    stream: bool = False


class Names(NamedTuple):
    """What an agent tells about a call beside its body; empty texts where it tells nothing."""

    trajectory: str = ""
    hint: str = ""
    parent: str = ""
    conversation: str = ""
    retry: int = 0
    """See `retry_count`."""

    def filled(self, metadata: dict[Any, Any]) -> "Names":
        """With what is missing here taken from the request's `metadata`."""
        return self._replace(
            trajectory=self.trajectory or _text(metadata.get(TRAJECTORY_KEY)),
            hint=self.hint or _text(metadata.get(PATTERN_KEY)),
            parent=self.parent or _text(metadata.get(PARENT_KEY)),
            conversation=self.conversation or _text(metadata.get(CONVERSATION_KEY)),
        )


def names_in(headers: Mapping[str, str]) -> Names:
    """What the headers tell; their names are in lower case."""
    return Names(
        trajectory=headers.get(TRAJECTORY_HEADER, ""),
        hint=headers.get(PATTERN_HEADER, ""),
        parent=headers.get(PARENT_HEADER, ""),
        conversation=headers.get(CONVERSATION_HEADER, ""),
        retry=retry_count(headers),
    )


def call_facts(names: Names, body: dict[str, Any], size: int, caller: str) -> CallFacts:
    """The facts of one call; `names` are those of its headers. Odd values are ignored, never an error."""
    metadata = body.get("metadata")
    if metadata and isinstance(metadata, dict):
        names = names.filled(metadata)
    trajectory, hint, parent, conversation, _ = names
    session = session_key(caller, conversation or trajectory, body)
    return CallFacts(body, size, caller, session, trajectory, hint, parent, body.get("stream") is True)


def session_key(caller: str, explicit: str, body: dict[str, Any]) -> str:
    """32 hex digits: the same for all calls of one run, different (almost surely) for runs that open differently.

    The explicit id (of the conversation, else of the run) decides when there is one; else the messages before the first
    assistant message, but at least up to the first user message (some agents open with a greeting), system and
    developer messages left out.
    """
    digest = blake2b(caller.encode(), digest_size=16, person=b"session-1")
    if explicit:
        digest.update(b"\0x" + explicit.encode("utf-8", "surrogatepass"))
    else:
        digest.update(b"\0o" + _encoded(_opening(body.get("messages"))))
    return digest.hexdigest()


def _opening(messages: object) -> list[object]:
    found: list[object] = []
    asked = answered = False
    for message in messages if isinstance(messages, list) else ():
        role = message.get("role") if isinstance(message, dict) else None
        if role in OPENING_ROLES_LEFT_OUT:
            continue
        answered = answered or role == "assistant"
        if asked and answered:
            break
        found.append(message)
        asked = asked or role == "user"
        if asked and answered:
            break
    return found


def _encoded(value: object) -> bytes:
    try:
        return _sorted.encode(value)
    except (ValueError, RecursionError, TypeError):
        # Lone surrogates and the like: bodies that only the lenient parser accepts.
        return repr(value).encode("utf-8", "surrogatepass")


def retry_count(headers: Mapping[str, str]) -> int:
    """`x-stainless-retry-count` as the client library sent it; 0 when it is missing or no number."""
    text = headers.get("x-stainless-retry-count", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0


def _text(value: object) -> str:
    """A name in the form that a record can hold: JSON can say half of a surrogate pair."""
    return clean(value)
