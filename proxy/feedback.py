"""`POST /v1/feedback` on the agents' port: checked, written to the journal, acknowledged; nobody else is asked.

202 means that the feedback is in the journal. What it is about is looked up later, by the control plane: the data
plane knows no calls but those in progress.
"""

import msgspec

from ..traffic import records
from ..traffic.errors import BadInput
from ..traffic.feedback import ACCEPTED, parse
from ..traffic.feedback import PATH as PATH
from .exchange import Exchange
from .openai_errors import Problem


def serve(call: Exchange, body: bytes | None) -> None:
    """Answer one request to `PATH`. `body`: without its content encoding; None when that could not be undone."""
    if call.method != "POST":
        call.refuse(_wrong_method(call.method))
        return
    if body is None:
        call.refuse(Problem(415, "bad_encoding", "Send feedback without content encoding, or as gzip or deflate."))
        return
    call.request = body
    try:
        given = parse(body)
    except BadInput as error:
        call.refuse(Problem(400, "bad_feedback", str(error)))
        return
    call.route, call.reason = "none", "feedback"
    if call.append(records.encode(_record(call))):
        call.logged = True
        made = {"id": given.id or call.call_id, "object": "feedback", "metric": given.metric}
        call.whole(ACCEPTED, [("content-type", "application/json")], msgspec.json.encode(made))
    else:
        call.refuse(_not_kept())


def _record(call: Exchange) -> records.CallRecord:
    return records.CallRecord(
        call_id=call.call_id,
        started_at=call.started_at,
        endpoint=PATH,
        caller=call.caller,
        route=call.route,
        reason=call.reason,
        status=ACCEPTED,
        retry=call.retry,
        request=call.request,
        request_id=call.call_id,
    )


def _wrong_method(method: str) -> Problem:
    message = f"Feedback is sent with POST {PATH}; {method} came. See what is stored with: tutelage feedback list"
    return Problem(405, "bad_method", message, headers=(("allow", "POST"),))


def _not_kept() -> Problem:
    message = "The feedback could not be written down: the proxy's journal takes no records now. Send it again later."
    return Problem(503, "journal_full", message, "server_error", (("retry-after", "5"), ("x-should-retry", "true")))
