"""Errors of our own, in the shape that OpenAI's client libraries understand.

    {"error": {"message": …, "type": …, "param": null, "code": …}}

An upstream's own errors are relayed as they are and never pass through here.
"""

from dataclasses import dataclass

import msgspec

INVALID = "invalid_request_error"
UPSTREAM = "upstream_error"


@dataclass(frozen=True)
class Problem:
    """Why a call could not be answered by an upstream."""

    status: int
    code: str
    message: str
    type: str = INVALID
    headers: tuple[tuple[str, str], ...] = ()
    """Headers that the answer carries beside its type and length."""

    def body(self) -> bytes:
        """The error as a JSON body."""
        return msgspec.json.encode({"error": self._fields()})

    def frame(self) -> bytes:
        """The error as one event of a stream that has already begun."""
        return b"data: " + self.body() + b"\n\n"

    def _fields(self) -> dict[str, str | None]:
        return {"message": self.message, "type": self.type, "param": None, "code": self.code}


def bad_json(detail: str) -> Problem:
    """The body is no JSON object."""
    return Problem(400, "bad_json", f"The request body must be a JSON object. {detail}")


def too_large(limit: int) -> Problem:
    """The body is over the limit."""
    return Problem(413, "body_too_large", f"The request body is larger than {limit} bytes, the limit of this proxy.")


def unknown_path(method: str, path: str) -> Problem:
    """A path that is neither under /v1/ nor ours."""
    hint = f" Did you mean /v1{path}? The base URL of this proxy ends in /v1." if path.count("/") >= 1 else ""
    return Problem(404, "unknown_path", f"There is nothing at {method} {path}.{hint}")


def unreachable(detail: str) -> Problem:
    """No connection to the upstream."""
    return Problem(502, "upstream_unreachable", f"The teacher cannot be reached: {detail}", UPSTREAM)


_PHASES = {
    "connect": "no connection within {:g} s",
    "head": "nothing came within {:g} s",
    "read": "it fell silent for {:g} s",
    "total": "it was not done within {:g} s",
}


def timed_out(phase: str, limit_s: float) -> Problem:
    """The upstream took longer than it may. `phase`, connect, head, read or total, is that of a `…_timeout_s`."""
    detail = f"{_PHASES[phase].format(limit_s)} ({phase}_timeout_s)."
    return Problem(504, "upstream_timeout", f"The teacher did not answer in time: {detail}", UPSTREAM)


def untrusted(detail: str) -> Problem:
    """The upstream's certificate is not accepted."""
    advice = "If an authority of your own has signed it, name the file with that authority's certificate in ca_file."
    return Problem(502, "upstream_unreachable", f"The teacher cannot be trusted: {detail}. {advice}", UPSTREAM)


def cannot_send() -> Problem:
    """The request holds something that HTTP cannot carry."""
    message = "The request cannot be passed on: a header or its address holds characters that HTTP does not allow."
    return Problem(400, "cannot_send", message)


def breaker_open(name: str, retry_after_s: int) -> Problem:
    """The upstream has failed so often that it is left alone for a while."""
    message = f"The teacher {name!r} has failed too often; no calls are made to it for {retry_after_s} s."
    return Problem(503, "upstream_breaker_open", message, UPSTREAM, _again_after(retry_after_s))


def busy(limit: int) -> Problem:
    """The worker has as many calls in progress as it may."""
    message = f"This proxy has {limit} calls in progress, its limit (max_concurrent). Try again in a moment."
    return Problem(503, "proxy_busy", message, "server_error", _again_after(1))


def _again_after(seconds: int) -> tuple[tuple[str, str], ...]:
    return (("retry-after", str(seconds)), ("x-should-retry", "true"))


def broken_off() -> Problem:
    """The upstream closed the connection in the middle of its answer."""
    return Problem(502, "upstream_broken_off", "The teacher broke off in the middle of its answer.", UPSTREAM)


def internal() -> Problem:
    """A fault of the proxy itself."""
    return Problem(500, "proxy_fault", "The proxy failed on this call; its log says why.", "server_error")
