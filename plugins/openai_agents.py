"""Tutelage for the OpenAI Agents SDK: `pip install 'tutelage[openai-agents]'`. See docs/openai-agents.md.

    from tutelage.plugins.openai_agents import connect

    processor = connect()
    result = Runner.run_sync(Agent(name="desk", tools=[...]), "Where is my parcel?")

The SDK's tracing announces what agents do, in the context of the call, so that names reach the request (see `tags`);
the processor's methods only look things up and put bytes into a queue. Invariant: none of them raises.
"""

import functools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import openai

from .openai_agents_runs import AGENT, FUNCTION, GUARDRAIL, MODELS, Place, Runs, Task, tag_of
from .run_outcomes import Said, Tools, answered, at_end
from .server import Server, is_local, key_of, shared, url_of
from .tags import CURRENT, Announced, note_answer_async, tag_requests

try:
    import agents  # pyright: ignore[reportMissingImports]
    from agents.tracing import TracingProcessor  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise ImportError(
        f"Tutelage's plugin for the OpenAI Agents SDK needs openai-agents ({error}). "
        "Install it with: pip install 'tutelage[openai-agents]'"
    ) from error

log = logging.getLogger("tutelage.plugins")
SOURCE = "plugin:openai-agents"
Method = TypeVar("Method", bound=Callable[..., Any])


def _harmless(method: Method) -> Method:
    """Let no error reach the agent; the first of each kind is logged with its trace."""

    @functools.wraps(method)
    def told(self: "TutelageProcessor", *arguments: Any) -> None:
        try:
            method(self, *arguments)
        except Exception as error:
            self.faults[type(error).__name__] += 1
            if self.faults[type(error).__name__] == 1:
                log.warning("Tutelage: %s of the trace processor failed.", method.__name__, exc_info=True)

    return told  # type: ignore[return-value]


class TutelageProcessor(TracingProcessor):
    """Names the runs of agents, and tells how they ended. One is enough for a process; it is thread-safe."""

    def __init__(self, server: str | Server = "", *, api_key: str = "", outcomes: bool = True) -> None:
        """server: its base URL, by default TUTELAGE_URL or http://127.0.0.1:8400/v1. api_key: by default
        TUTELAGE_API_KEY or OPENAI_API_KEY. outcomes: post how runs ended.
        Raises ValueError when `server` is no HTTP URL.
        """
        self.server = server if isinstance(server, Server) else shared(server, api_key, SOURCE)
        self.faults: Counter[str] = Counter()
        """Errors inside of the processor, by type; there should be none."""
        self.runs = Runs()
        self._outcomes, self._tools = outcomes, Tools()

    @_harmless
    def on_trace_start(self, trace: Any) -> None:
        """A trace begins."""
        self.runs.open(trace.trace_id, getattr(trace, "group_id", None), getattr(trace, "metadata", None))

    @_harmless
    def on_trace_end(self, trace: Any) -> None:
        """It has ended."""
        self.runs.close(trace.trace_id)

    @_harmless
    def on_span_start(self, span: Any) -> None:
        """A step of an agent begins; a model call is announced to the HTTP client."""
        place = self.runs.start(span)
        kind = span.span_data.type
        if kind in MODELS:
            # One that nobody placed must not go out under the names of the call before it.
            CURRENT.set(Announced(tag_of(place)) if place else None)
            if place is not None:
                place.call = CURRENT.get()
        elif kind == FUNCTION and place is not None:
            self._tools.started(place.task, str(span.span_data.name))

    @_harmless
    def on_span_end(self, span: Any) -> None:
        """It has ended."""
        place = self.runs.end(span)
        if place is None:
            return
        kind, data, error = span.span_data.type, span.span_data, span.error
        if kind in MODELS:
            self._answered(place, data, error)
        elif kind == FUNCTION and error:
            self._say(self._tools.failed(place.task, str(data.name), "", _text_of(error)))
        elif kind == GUARDRAIL and data.triggered:
            place.task.stopped = f"guardrail:{data.name}"
        elif kind == AGENT and error and not place.task.stopped:
            place.task.failure = _text_of(error)
        elif place.opened:
            self._ended(place.task)

    def shutdown(self) -> None:
        """Deliver what waits and end; the SDK calls it at the end of the process."""
        self.server.shutdown()

    def force_flush(self) -> None:
        """Wait until all is delivered, for 5 s at most."""
        self.server.flush()

    def _answered(self, place: Place, data: Any, error: Mapping[str, Any] | None) -> None:
        call, task = place.call, place.task
        if CURRENT.get() is call:
            CURRENT.set(None)
        tools = _tool_calls(data)
        if tools is None:
            # Left without an answer: an error, which may be tried again, or the end of the program's patience.
            task.calls += 1
            task.failure = _text_of(error) if error else ""
            task.stopped = "" if error else "no_answer"
            return
        task.failure = task.stopped = ""
        answered(task, len(tools), _finish(data), call.call_id if call else "")
        self._tools.asked(task.last_call, tools)

    def _ended(self, task: Task) -> None:
        for said in at_end(task, task.failure):
            self._say(said)

    def _say(self, said: Said | None) -> None:
        if said is not None and self._outcomes and (said.trajectory or said.call_id):
            self.server.feedback(
                said.metric, said.value, trajectory=said.trajectory, call_id=said.call_id, comment=said.comment
            )


def connect(server: str = "", *, api_key: str = "", outcomes: bool = True) -> TutelageProcessor:
    """Let all agents of this process ask the proxy, and tell it of their runs; returns the processor.

    The SDK's default client becomes one of the proxy, with chat completions, for only they have patterns; the SDK's own
    export of traces to OpenAI stays as it is. Arguments: as for `TutelageProcessor`. Raises ValueError when `server` is
    no HTTP URL.
    """
    agents.set_default_openai_client(client(server, api_key=api_key), use_for_tracing=False)
    agents.set_default_openai_api("chat_completions")
    processor = TutelageProcessor(url_of(server), api_key=api_key, outcomes=outcomes)
    agents.add_trace_processor(processor)
    return processor


def client(server: str = "", *, api_key: str = "", **settings: Any) -> openai.AsyncOpenAI:
    """An OpenAI client of the proxy whose requests carry the names of their run; settings: those of `AsyncOpenAI`."""
    base_url = url_of(server)
    made = settings.pop("http_client", None) or openai.DefaultAsyncHttpxClient(trust_env=not is_local(base_url))
    tag_requests(made, is_async=True)
    hooks = made.event_hooks
    made.event_hooks = {**hooks, "response": [*hooks.get("response", ()), note_answer_async]}
    return openai.AsyncOpenAI(base_url=base_url, api_key=key_of(api_key) or "none", http_client=made, **settings)


def _tool_calls(data: Any) -> Sequence[str] | None:
    """Ids of the tool calls in an answer; None when there is none."""
    if data.type == "response":
        items = getattr(data.response, "output", None)
        called = [item for item in items or () if getattr(item, "type", "") == "function_call"]
        return None if items is None else [str(item.call_id) for item in called]
    output = data.output
    if not output or not isinstance(output[0], Mapping):
        return None
    message = output[0]
    if "output" in message:  # a streamed answer is told in the form of the Responses API
        called = [item for item in message["output"] or () if item.get("type") == "function_call"]
        return [str(item.get("call_id")) for item in called]
    return [str(call.get("id") or "") for call in message.get("tool_calls") or ()]


def _finish(data: Any) -> str:
    """`length` for an answer that was cut off, as far as the SDK tells."""
    response = data.response if data.type == "response" else None
    return "length" if getattr(response, "status", "") == "incomplete" else ""


def _text_of(error: Mapping[str, Any]) -> str:
    known = error.get("data")
    detail = known.get("error") if isinstance(known, Mapping) else None
    return f"{error.get('message', '')}: {detail}" if detail else str(error.get("message", ""))
