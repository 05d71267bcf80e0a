"""OpenAI's stored completions: `chat.completion` objects with the messages that they answer.

`GET /v1/chat/completions` lists the answers alone; the messages come from `GET /v1/chat/completions/ID/messages` and
are expected in each object as `messages` (or `input`), either as the list or as the page that the API gives.
"""

from .answers import as_object
from .imported import Exchange, Message, Reading, Skip, answer_of, moment, request_of, text

_NOT_ASKED = ("id", "object", "created", "choices", "usage", "messages", "input", "request_id", "system_fingerprint")
_OF_MESSAGES = ("id", "object")
"""Members that the API adds to stored messages."""


def looks_like(row: Message) -> bool:
    """Whether a row has this form."""
    return row.get("object") == "chat.completion"


def read(row: Message) -> Reading:
    """The call of one stored completion. Raises BadInput when it has messages that are none."""
    given = row.get("messages", row.get("input"))
    given = as_object(given).get("data", given)
    if not given:
        yield Skip("it has no input: add the answer of /v1/chat/completions/ID/messages to it as `messages`")
        return
    if isinstance(given, list):
        given = [_said(message) if isinstance(message, dict) else message for message in given]
    fields = {name: value for name, value in row.items() if name not in _NOT_ASKED and value not in (None, {}, [])}
    choices = row.get("choices")
    choice = as_object(choices[0]) if isinstance(choices, list) and choices else {}
    answer = answer_of(choice.get("message"))
    yield Exchange(
        request_of(given, **fields),
        answer,
        key=text(row.get("id")),
        at=moment(row.get("created")),
        finish_reason=text(choice.get("finish_reason")),
        model=text(row.get("model")),
        usage=as_object(row.get("usage")),
        upstream_id=text(row.get("id")),
        status=200 if answer else 500,
    )


def _said(message: Message) -> Message:
    """A stored message as the agent had sent it."""
    said = {name: value for name, value in message.items() if name not in _OF_MESSAGES and value is not None}
    parts = said.pop("content_parts", None)
    return {**said, "content": parts} if parts and not said.get("content") else said
