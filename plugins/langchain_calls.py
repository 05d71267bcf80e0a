"""One model call of LangChain between its announcement and its answer, and the record that is posted of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult

from .langchain_records import answer_id, answer_of, request_of, response_of
from .tags import CALL_ID, Announced


@dataclass(slots=True, eq=False)
class Call:
    """What is remembered of a call until it is over."""

    announced: Announced
    run_id: str
    started_at: float
    """Unix seconds."""
    messages: Sequence[BaseMessage]
    """Empty when calls are not recorded."""
    invocation: Mapping[str, Any]
    metadata: Mapping[str, Any]
    first_at: float = 0.0
    """When the first piece of a streamed answer came, Unix seconds; 0 before."""

    def call_id(self, result: LLMResult) -> str:
        """The proxy's id of the call, else the provider's id of the answer; both name it. Empty when there is neither.

        A streamed answer has no metadata with the proxy's headers unless `include_response_headers` is on.
        """
        message = answer_of(result)
        return (_headers(message).get(CALL_ID) or answer_id(message)) if message is not None else ""

    def proxied(self, result: LLMResult) -> bool:
        """Whether the call went through the proxy, which has its own record of it then."""
        message = answer_of(result)
        return bool(self.announced.sent) or (message is not None and CALL_ID in _headers(message))

    def logged(
        self, now: float, *, result: LLMResult | None = None, error: BaseException | None = None
    ) -> dict[str, Any]:
        """The record to post, in the form of `POST /v1/tutelage/records`. Raises Untranslatable."""
        tag = self.announced.tag
        said: dict[str, Any] = {
            "id": self.run_id,
            "started_at": self.started_at,
            "request": request_of(self.messages, self.invocation, self.metadata),
            "latency_ms": max(0.0, (now - self.started_at) * 1000),
            "trajectory": tag.trajectory,
            "parent": tag.parent,
            "conversation": tag.conversation,
            "pattern": tag.pattern,
        }
        if self.first_at:
            said |= {"stream": True, "first_byte_ms": max(0.0, (self.first_at - self.started_at) * 1000)}
        if result is not None:
            return said | {"response": response_of(result), "status": 200}
        status = getattr(error, "status_code", None)
        known = isinstance(status, int) and 100 <= status <= 599
        return said | {"error": f"{type(error).__name__}: {error}"[:200], "status": status if known else 502}


def _headers(message: BaseMessage) -> Mapping[str, str]:
    found = message.response_metadata.get("headers")
    return found if isinstance(found, Mapping) else {}
