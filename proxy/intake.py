"""Log sources: calls that agents made without this proxy, posted to the agents' port afterwards.

`POST /v1/tutelage/records` takes them in the form of `intake_form`; whatever the form, `keep` writes the records to
the journal that proxied calls go to, and everything behind it (store, patterns, shadowing, distillation) works on them
alike. Invariant: what is acknowledged is with the operating system, so no kill takes it away. When that cannot be said
of all of them, nothing is acknowledged, and sending them again does no harm: a call keeps its id.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..traffic.errors import BadInput
from ..traffic.records import CallRecord, encode
from .exchange import Exchange
from .intake_form import parse, record_in
from .openai_errors import Problem

PATH = "/v1/tutelage/records"
ACCEPTED = 202
_AT_ONCE = 50
"""After so many records the calls in progress get their turn."""
_SHOWN = 20
"""Rejected records that are named one by one."""
Behind = Callable[[], bool]
"""Whether the journal holds records in memory at the moment."""


async def serve(call: Exchange, body: bytes | None, behind: Behind, on: bool = True) -> None:
    """Answer one request to `PATH`. `body`: without its content encoding; None when that could not be undone."""
    problem = refusal(call.method, body, on)
    if problem is not None or body is None:
        call.refuse(problem or _bad_encoding())
        return
    try:
        batch = parse(body)
    except BadInput as error:
        call.refuse(Problem(400, "bad_records", str(error)))
        return
    records: list[CallRecord] = []
    rejected: list[dict[str, Any]] = []
    for index, raw in enumerate(batch.records):
        if index % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        try:
            records.append(record_in(bytes(raw), call.caller, batch.source))
        except BadInput as error:
            rejected.append({"index": index, "error": str(error)})
    if not records:
        first = rejected[0]["error"]
        call.refuse(Problem(400, "bad_records", f"None of the {len(rejected)} records fits. The first: {first}."))
    elif await keep(call, records, behind):
        answer(call, {"object": "records", "accepted": len(records), **_told(records, rejected)})


def refusal(method: str, body: bytes | None, on: bool) -> Problem | None:
    """Why a request to a log source's endpoint is not even read; None when it is."""
    if not on:
        return Problem(
            403, "intake_off", "This proxy takes no records from log sources: its setting proxy.intake is off."
        )
    if method != "POST":
        message = f"Records are sent with POST; {method} came."
        return Problem(405, "bad_method", message, headers=(("allow", "POST"),))
    return _bad_encoding() if body is None else None


async def keep(call: Exchange, records: Sequence[CallRecord], behind: Behind) -> bool:
    """Write records to the journal; False when they may be lost, and the sender has been told to send them again."""
    for count, record in enumerate(records, 1):
        if not call.append(encode(record)):
            call.refuse(_not_kept("the proxy's journal takes no records now"))
            return False
        if count % _AT_ONCE == 0:
            await asyncio.sleep(0)
    if behind():
        call.refuse(_not_kept("the proxy's disk is behind, and they are only in memory yet"))
        return False
    return True


def answer(call: Exchange, told: dict[str, Any]) -> None:
    """Acknowledge records that were kept. The request itself is no call, and leaves no record of its own."""
    call.route, call.reason, call.logged = "none", "log_source", True
    call.whole(ACCEPTED, [("content-type", "application/json")], msgspec.json.encode(told))


def _told(records: Sequence[CallRecord], rejected: Sequence[dict[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {"call_ids": [record.call_id for record in records]}
    return {**told, "rejected": len(rejected), "problems": rejected[:_SHOWN]}


def _bad_encoding() -> Problem:
    return Problem(415, "bad_encoding", "Send records without content encoding, or as gzip or deflate.")


def _not_kept(why: str) -> Problem:
    again = (("retry-after", "2"), ("x-should-retry", "true"))
    return Problem(
        503, "journal_full", f"The records could not be kept: {why}. Send them again.", "server_error", again
    )
