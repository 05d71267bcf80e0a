"""What the handler says about a run when it has ended: a judgement of its callbacks, without LangChain or a network.

    the run raised                                                   success = false, with the error
    an answer that is whole, with no tool failing right before it    success = true
    anything else (cut off, stopped, tools not run, last tool failed)   `outcome` as a text, no opinion
    an interrupt                                                     control flow: `outcome` = interrupted, no opinion

No opinion leaves the label to verifiers and to the guess from the calls. Counts (`tool_errors`, `retries`,
`interrupts`) are said beside it when they are not zero, and each failure of a tool as `tool_error` of the call that
asked for it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from threading import Lock
from typing import NamedTuple

from langchain_core.outputs import LLMResult

from .langchain_records import answer_of, finish_of
from .langchain_runs import Frame

_CUT_OFF = ("length", "content_filter", "safety", "refusal")
_KEPT_CALLS = 2_000


class Said(NamedTuple):
    """One value of one metric about a run, or else about a call."""

    metric: str
    value: bool | float | str
    comment: str = ""
    trajectory: str = ""
    call_id: str = ""


def at_end(frame: Frame, error: BaseException | None) -> Iterator[Said]:
    """What is said about a trajectory whose graph has ended, been interrupted, or failed with `error`."""
    if frame.paused and error is None:
        frame.interrupts += 1
    if not frame.calls:
        return
    about = {"trajectory": frame.trajectory, "call_id": "" if frame.trajectory else frame.last_call}
    for metric in ("tool_errors", "retries", "interrupts"):
        if count := getattr(frame, metric):
            yield Said(metric, count, **about)
    if error is not None and not _is_cancelled(error):
        yield Said("success", False, f"{type(error).__name__}: {error}", **about)
    elif doubt := "cancelled" if error is not None else _doubt(frame):
        yield Said("outcome", doubt, **about)
    else:
        yield Said("success", True, **about)


def _doubt(frame: Frame) -> str:
    if frame.paused:
        return "interrupted"
    if frame.waiting_tools:
        return "tools_not_run"
    if frame.finish in _CUT_OFF:
        return f"cut_off:{frame.finish}"
    return "after_tool_error" if frame.ended_on_failure else ""


def answered(frame: Frame, result: LLMResult, call_id: str) -> list[str]:
    """A model has answered in this trajectory; the ids of the tool calls in it."""
    message = answer_of(result)
    tool_ids = [str(call.get("id") or "") for call in message.tool_calls] if message is not None else []
    frame.calls += 1
    frame.waiting_tools = len(tool_ids)
    frame.ended_on_failure, frame.failed_since_answer = frame.failed_since_answer, False
    frame.finish = finish_of(message) if message is not None else ""
    frame.last_call = call_id or frame.last_call
    return tool_ids


class Tools:
    """Counts what tools do, and remembers which call asked for them; bounded. Tools run in threads of their own."""

    def __init__(self, most: int = _KEPT_CALLS) -> None:
        self._most = most
        self._lock = Lock()
        self._asked: OrderedDict[str, str] = OrderedDict()

    def asked(self, call_id: str, tool_ids: list[str]) -> None:
        """A model's answer asks for these tools."""
        with self._lock:
            for tool_id in tool_ids if call_id else ():
                self._asked[tool_id] = call_id
                if len(self._asked) > self._most:
                    self._asked.popitem(last=False)

    def started(self, frame: Frame, name: str) -> None:
        """A tool begins; after its failure that is a retry."""
        with self._lock:
            frame.waiting_tools = max(0, frame.waiting_tools - 1)
            if name in frame.failed_tools:
                frame.retries += 1
                frame.failed_tools.discard(name)

    def failed(self, frame: Frame, name: str, tool_id: str, why: str) -> Said | None:
        """A tool has failed; what is said about the call that asked for it, if it is known."""
        with self._lock:
            frame.tool_errors += 1
            frame.failed_since_answer = True
            frame.failed_tools.add(name)
            # Older versions do not say which tool call it is; it is one of the last answer's.
            call_id = self._asked.get(tool_id, "") if tool_id else frame.last_call
        return Said("tool_error", True, f"{name}: {why}", call_id=call_id) if call_id else None


def is_control_flow(error: BaseException) -> bool:
    """Whether LangGraph raised it to steer: an interrupt, or a command for the graph around."""
    return _is_a(error, "GraphBubbleUp")


def is_interrupt(error: BaseException) -> bool:
    """Whether it stops the graph until somebody answers."""
    return _is_a(error, "GraphInterrupt")


def _is_a(error: BaseException, name: str) -> bool:
    # By name: LangGraph need not be installed, and its module has moved before.
    return any(kind.__name__ == name for kind in type(error).__mro__)


def _is_cancelled(error: BaseException) -> bool:
    return isinstance(error, asyncio.CancelledError | KeyboardInterrupt | GeneratorExit)
