"""What the protocols beside chat completions have in common: how a request says its conversation, how events come."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from .answers import Assemble, Message, Read
from .canonical import loads
from .errors import BadInput
from .sse import DONE, SSEParser


class Conversation(NamedTuple):
    """What a request says, in chat messages."""

    messages: list[Message]
    fields: Sequence[str]
    """Members of the body that the messages stand for."""
    opening: list[Message]
    """System messages that open the conversation; they are not part of it when it continues an earlier answer."""
    opening_fields: Sequence[str] = ()
    earlier: str = ""
    """The provider's name of the answer that the messages follow; empty when they are the whole conversation."""


class Dialect(NamedTuple):
    """How to read the calls of one endpoint."""

    name: str
    assemble: Assemble
    read: Read
    conversation: Callable[[Message], Conversation] | None = None
    """None: its requests are no conversations, and are kept as raw bytes."""


def events(stream: bytes) -> Iterator[Any]:
    """The values of an event stream's data, without `[DONE]`; a last event that was cut off is left out.

    Raises BadInput when one in the middle is damaged.
    """
    parser = SSEParser()
    for event in parser.feed(stream):
        if event.strip() not in (b"", DONE):
            yield loads(event)
    for event in parser.finish():
        if event.strip() not in (b"", DONE):
            try:
                yield loads(event)
            except BadInput:
                return
