"""What LangChain's callbacks mean for the outcome of a run (`run_outcomes`): its errors, interrupts and answers."""

import asyncio
from collections.abc import Iterator

from langchain_core.outputs import LLMResult

from . import run_outcomes
from .langchain_records import answer_of, finish_of
from .langchain_runs import Frame
from .run_outcomes import Said


def at_end(frame: Frame, error: BaseException | None) -> Iterator[Said]:
    """What is said about a trajectory whose graph has ended, been interrupted, or failed with `error`."""
    failure = f"{type(error).__name__}: {error}" if error is not None else ""
    return run_outcomes.at_end(frame, failure, error is not None and _is_cancelled(error))


def answered(frame: Frame, result: LLMResult, call_id: str) -> list[str]:
    """A model has answered in this trajectory; the ids of the tool calls in it."""
    message = answer_of(result)
    tool_ids = [str(call.get("id") or "") for call in message.tool_calls] if message is not None else []
    run_outcomes.answered(frame, len(tool_ids), finish_of(message) if message is not None else "", call_id)
    return tool_ids


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
