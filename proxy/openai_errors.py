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


def timed_out(detail: str) -> Problem:
    """The upstream took longer than it may."""
    return Problem(504, "upstream_timeout", f"The teacher did not answer in time: {detail}", UPSTREAM)


def broken_off() -> Problem:
    """The upstream closed the connection in the middle of its answer."""
    return Problem(502, "upstream_broken_off", "The teacher broke off in the middle of its answer.", UPSTREAM)


def internal() -> Problem:
    """A fault of the proxy itself."""
    return Problem(500, "proxy_fault", "The proxy failed on this call; its log says why.", "server_error")
