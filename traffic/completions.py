"""Calls that are no conversations: `/v1/completions` and `/v1/embeddings`.

Their requests are kept as raw bytes, and so are the texts of completions. Vectors are not kept: they follow from the
request, and one answer can hold megabytes of them.
"""

from typing import Any

from .answers import Answer, Message, clean, count, failed
from .canonical import mend
from .dialect import events
from .errors import BadInput
from .records import CallRecord


def completion_answer(body: Message, record: CallRecord) -> Answer:
    """What a `text_completion` cost and how its first choice ended; the bytes are kept."""
    found = Answer(model=clean(body.get("model")), upstream_id=clean(body.get("id")), keep_raw=True)
    count(found, body.get("usage"), "prompt_tokens", "completion_tokens")
    if body.get("error"):
        return failed(found, body["error"], record)
    choices = [choice for choice in body.get("choices") or [] if isinstance(choice, dict)]
    if record.status < 400 and not choices:
        found.error = "no_choices"
    elif choices:
        found.finish_reason = clean(choices[0].get("finish_reason"))
        if record.stream and not found.finish_reason and not record.cancelled:
            found.error = "incomplete"
    return found


def assemble_completion(stream: bytes) -> Message:
    """The `text_completion` that an event stream spells out. Raises BadInput when there is none in it."""
    body: Message = {}
    choices: dict[Any, Message] = {}
    for event in events(stream):
        if not isinstance(event, dict) or not isinstance(event.get("choices") or [], list):
            raise BadInput(f"Expected a completion chunk, but a frame holds {str(event)[:40]!r}.")
        body |= {key: value for key, value in event.items() if key != "choices" and value is not None}
        for part in event.get("choices") or []:
            if isinstance(part, dict):
                index = part.get("index")
                _grow(choices.setdefault(index if isinstance(index, int) else 0, {"text": ""}), part)
    if not body and not choices:
        raise BadInput("Expected a stream of completion chunks, but it holds none. It is kept as raw bytes.")
    ranked = sorted(choices.items())
    return {**body, "choices": [{**choice, "text": mend(choice["text"]), "index": index} for index, choice in ranked]}


def _grow(choice: Message, part: Message) -> None:
    text = part.get("text")
    if isinstance(text, str):
        choice["text"] += text
    choice |= {key: value for key, value in part.items() if key not in ("text", "index") and value is not None}


def embedding_answer(body: Message, record: CallRecord) -> Answer:
    """What a list of embeddings cost, without the vectors."""
    found = Answer(model=clean(body.get("model")))
    count(found, body.get("usage"), "prompt_tokens", "completion_tokens")
    if body.get("error"):
        return failed(found, body["error"], record)
    if not isinstance(body.get("data"), list):
        found.keep_raw = True
        found.error = "no_data" if record.status < 400 else ""
    return found


def no_stream(stream: bytes) -> Message:
    """Embeddings are never streamed. Raises BadInput."""
    raise BadInput(f"Expected a plain body, but it is an event stream that begins with {stream[:40]!r}.")
