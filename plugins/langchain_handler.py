"""The callback handler: names the runs of LangChain and LangGraph agents, and tells how they ended.

    agent.invoke(inputs, {"callbacks": [TutelageCallbackHandler()], "configurable": {"thread_id": "order-17"}})

It runs inline, in the context of the call, because that is how the names reach the request (see `tags`); so its methods
only look things up and put bytes into a queue. Invariant: none of them raises, whatever LangChain hands in.
"""

import functools
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage, ToolMessage
from langchain_core.outputs import LLMResult

from .langchain_calls import Call
from .langchain_outcomes import answered, at_end, is_control_flow, is_interrupt
from .langchain_runs import Frame, Runs, Threads, tag_of
from .run_outcomes import Said, Tools
from .server import Server, shared
from .tags import CURRENT, Announced

if TYPE_CHECKING:
    _Base = BaseCallbackHandler
else:
    try:
        from langgraph.callbacks import GraphCallbackHandler as _Base
    except ImportError:  # before LangGraph 1.2, or without it
        _Base = BaseCallbackHandler

log = logging.getLogger("tutelage.plugins")
SOURCE = "plugin:langchain"
_THREADS = Threads()
Method = TypeVar("Method", bound=Callable[..., Any])


def _harmless(method: Method) -> Method:
    """Let no error of a callback reach the agent; the first of each kind is logged with its trace."""

    @functools.wraps(method)
    def callback(self: "TutelageCallbackHandler", *arguments: Any, **named: Any) -> None:
        try:
            method(self, *arguments, **named)
        except Exception as error:
            self.faults[type(error).__name__] += 1
            if self.faults[type(error).__name__] == 1:
                log.warning("Tutelage: the callback %s failed.", method.__name__, exc_info=True)

    return callback  # type: ignore[return-value]


class TutelageCallbackHandler(_Base):
    """For synchronous and asynchronous agents alike. One may serve any number of runs at once; it is cheap to make."""

    run_inline = True
    raise_error = False

    def __init__(
        self,
        server: str | Server = "",
        *,
        api_key: str = "",
        record: bool = False,
        outcomes: bool = True,
        threads: Threads = _THREADS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """server: its base URL, by default TUTELAGE_URL or http://127.0.0.1:8400/v1. api_key: by default
        TUTELAGE_API_KEY or OPENAI_API_KEY.

        record: post the calls themselves, for agents whose model is not reached through the proxy; calls that did go
        through it are left out. outcomes: post how runs ended.
        Raises ValueError when `server` is no HTTP URL.
        """
        super().__init__()
        self.server = server if isinstance(server, Server) else shared(server, api_key, SOURCE)
        self.faults: Counter[str] = Counter()
        """Errors inside of callbacks, by type; there should be none."""
        self.runs = Runs(threads)
        self._record, self._outcomes, self._clock = record, outcomes, clock
        self._tools = Tools()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all is delivered; False when that took longer than `timeout` seconds."""
        return self.server.flush(timeout)

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Deliver what waits and end; False when something was left after `timeout` seconds."""
        return self.server.shutdown(timeout)

    def frame_of(self, run_id: UUID | None) -> Frame | None:
        """The trajectory that a run in progress belongs to."""
        run = self.runs.get(run_id)
        return run.frame if run else None

    # Chains and graphs.

    @_harmless
    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """A chain, a graph or a node begins."""
        continues = parent_run_id is None and (inputs is None or getattr(inputs, "resume", None) is not None)
        self.runs.start(run_id, parent_run_id, metadata or {}, name or "", tags=tags, continues=continues)

    @_harmless
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It has ended well, or was interrupted."""
        run = self.runs.end(run_id)
        if run is not None and run.owns and run.frame is not None:
            if isinstance(outputs, Mapping) and outputs.get("__interrupt__"):
                run.frame.paused = True
            self._ended(run.frame, None)

    @_harmless
    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It has failed, or control passes through it."""
        run = self.runs.end(run_id)
        if run is None or run.frame is None:
            return
        if is_interrupt(error):
            run.frame.paused = True
        if run.owns:
            self._ended(run.frame, None if is_control_flow(error) else error)

    @_harmless
    def on_interrupt(self, event: Any) -> None:
        """A graph stops and waits; the only sign of it where a static breakpoint is the reason."""
        frame = self.frame_of(event.run_id)
        if frame is not None:
            frame.paused, frame.checkpoint = True, event.checkpoint_id

    @_harmless
    def on_resume(self, event: Any) -> None:
        """A graph goes on where it stopped."""
        self.runs.confirm(event.run_id, event.checkpoint_id)

    @_harmless
    def on_retry(self, retry_state: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A runnable is tried again."""
        frame = self.frame_of(run_id) or self.frame_of(kwargs.get("parent_run_id"))
        if frame is not None:
            frame.retries += 1

    @_harmless
    def on_retriever_start(
        self, serialized: Any, query: str, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """A retriever begins; some of them ask a model."""
        self.runs.start(run_id, parent_run_id, kwargs.get("metadata") or {}, tags=kwargs.get("tags"))

    @_harmless
    def on_retriever_end(self, documents: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It has ended."""
        self.on_chain_end(None, run_id=run_id)

    @_harmless
    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It has failed."""
        self.on_chain_error(error, run_id=run_id)

    # Tools.

    @_harmless
    def on_tool_start(
        self,
        serialized: Mapping[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        tool_call_id: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """A tool begins."""
        found = str(name or (serialized or {}).get("name") or "")
        run = self.runs.start(run_id, parent_run_id, metadata or {}, found, tags=tags)
        if run.frame is not None:
            self._tools.started(run.frame, found)
            run.call = tool_call_id

    @_harmless
    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It has given a result, which may say that it failed."""
        run = self.runs.end(run_id)
        if run is None or run.frame is None:
            return
        if isinstance(output, ToolMessage) and output.status == "error":
            self._say(self._tools.failed(run.frame, run.name, output.tool_call_id, str(output.content)))

    @_harmless
    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It has raised."""
        run = self.runs.end(run_id)
        if run is None or run.frame is None:
            return
        if is_control_flow(error):
            run.frame.paused = run.frame.paused or is_interrupt(error)
        else:
            call_id = kwargs.get("tool_call_id") or run.call or ""
            self._say(self._tools.failed(run.frame, run.name, call_id, f"{type(error).__name__}: {error}"))

    # Models.

    @_harmless
    def on_chat_model_start(
        self,
        serialized: Any,
        messages: Sequence[Sequence[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """A model is about to be asked: its call is announced to the HTTP client."""
        known = metadata or {}
        run = self.runs.start(run_id, parent_run_id, known, tags=tags, is_call=True)
        announced = Announced(tag_of(run, known))
        invocation = kwargs.get("invocation_params") or {}
        run.call = Call(announced, str(run_id), self._clock(), messages[0] if self._record else (), invocation, known)
        CURRENT.set(announced)

    @_harmless
    def on_llm_new_token(self, token: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A piece of the answer has come."""
        run = self.runs.get(run_id)
        if run is not None and run.call is not None and not run.call.first_at:
            run.call.first_at = self._clock()

    @_harmless
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """The model has answered."""
        run = self.runs.end(run_id)
        if run is None or not isinstance(run.call, Call):
            return
        _over(run.call)
        call_id = run.call.call_id(response)
        if run.frame is not None:
            self._tools.asked(call_id, answered(run.frame, response, call_id))
        if self._record and not run.call.proxied(response):
            self.server.record(run.call.logged(self._clock(), result=response))

    @_harmless
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It has not."""
        run = self.runs.end(run_id)
        if run is None or not isinstance(run.call, Call):
            return
        _over(run.call)
        if run.frame is not None:
            run.frame.calls += 1
        if self._record and not run.call.announced.sent:
            self.server.record(run.call.logged(self._clock(), error=error))

    def _ended(self, frame: Frame, error: BaseException | None) -> None:
        if frame.paused or error is not None or frame.waiting_tools:
            self.runs.pause(frame)
        for said in at_end(frame, error):
            self._say(said)

    def _say(self, said: Said | None) -> None:
        if said is None or not self._outcomes or not (said.trajectory or said.call_id):
            return
        self.server.feedback(
            said.metric, said.value, trajectory=said.trajectory, call_id=said.call_id, comment=said.comment
        )


def _over(call: Call) -> None:
    if CURRENT.get() is call.announced:
        CURRENT.set(None)
