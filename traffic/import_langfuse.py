"""Langfuse's exports: generations as the API and the page's download give them, alone or inside their traces."""

from .answers import as_object
from .imported import Exchange, Message, Reading, Skip, answer_of, moment, request_of, span_ms, text, unpacked, usage_of


def looks_like(row: Message) -> bool:
    """Whether a row has this form."""
    return isinstance(row.get("observations"), list) or (
        "input" in row and any(name in row for name in ("traceId", "trace_id", "modelParameters"))
    )


def read(row: Message) -> Reading:
    """The calls of an observation, or of the observations of a trace. Raises BadInput for one without messages."""
    if isinstance(row.get("observations"), list):
        for one in row["observations"]:
            if isinstance(one, dict):
                yield from read({"sessionId": row.get("sessionId"), "traceId": row.get("id"), **one})
            else:
                yield Skip("an observation that was exported without its content")
        return
    kind = text(row.get("type")) or "GENERATION"
    if kind.upper() != "GENERATION":
        yield Skip(f"an observation of the type {kind}, which is no model call")
        return
    yield _generation(row)


def _generation(row: Message) -> Exchange:
    given, parameters = unpacked(row.get("input")), as_object(unpacked(_either(row, "modelParameters")))
    fields = {name: value for name, value in {**parameters}.items() if name not in ("messages", "model")}
    if isinstance(given, dict) and "messages" in given:
        fields |= {name: value for name, value in given.items() if name not in ("messages", "model")}
        given = given["messages"]
    elif isinstance(given, dict) and "role" in given:
        given = [given]
    model = text(row.get("model")) or text(_either(row, "providedModelName"))
    usage = as_object(unpacked(_either(row, "usageDetails"))) or as_object(row.get("usage"))
    output = unpacked(row.get("output"))
    answer = None if row.get("level") == "ERROR" else answer_of(output)
    begin = _either(row, "startTime")
    return Exchange(
        request_of(given, model=model or None, **fields),
        answer,
        key=text(row.get("id")),
        at=moment(begin),
        model=model,
        usage=usage_of(
            usage.get("input", _either(row, "promptTokens")), usage.get("output", _either(row, "completionTokens"))
        ),
        finish_reason=_finish(output),
        status=200 if answer else 500,
        error=text(_either(row, "statusMessage"))[:2_000],
        latency_ms=span_ms(begin, _either(row, "endTime")),
        first_byte_ms=span_ms(begin, _either(row, "completionStartTime")),
        session=text(_either(row, "sessionId")) or text(_either(row, "traceId")),
    )


def _either(row: Message, name: str) -> object:
    """A member by its name in the API, or as the page's download spells it (`start_time`)."""
    spelled = "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)
    return row.get(name, row.get(spelled))


def _finish(output: object) -> str:
    choices = as_object(output).get("choices")
    return text(as_object(choices[0]).get("finish_reason")) if isinstance(choices, list) and choices else ""
