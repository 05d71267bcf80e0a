"""What a plugin says about a run when it has ended: a judgement of what happened in it, without framework or network.

    the run raised                                                   success = false, with the error
    an answer that is whole, with no tool failing right before it    success = true
    anything else (cut off, stopped, tools not run, last tool failed)   `outcome` as a text, no opinion
    an interrupt                                                     control flow: `outcome` = interrupted, no opinion

No opinion leaves the label to verifiers and to the guess from the calls. Counts (`tool_errors`, `retries`,
`interrupts`) are said beside it when they are not zero, and each failure of a tool as `tool_error` of the call that
asked for it.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import NamedTuple

_CUT_OFF = ("length", "content_filter", "safety", "refusal")
_KEPT_CALLS = 2_000


@dataclass(slots=True, eq=False)
class Progress:
    """One trajectory: what happened in it so far."""

    trajectory: str
    """Empty: not named, the proxy finds it out."""
    paused: bool = False
    """An interrupt was seen that has not been answered yet."""
    calls: int = 0
    tool_errors: int = 0
    retries: int = 0
    interrupts: int = 0
    waiting_tools: int = 0
    """Tool calls of the last answer that have not run."""
    failed_tools: set[str] = field(default_factory=set)
    failed_since_answer: bool = False
    """A tool has failed after the last answer."""
    ended_on_failure: bool = False
    """The last answer came after a tool had failed."""
    finish: str = ""
    """Finish reason of the last answer."""
    last_call: str = ""
    """Id of the last answer."""
    stopped: str = ""
    """Why the run was ended on purpose, before its model had said the last word."""


class Said(NamedTuple):
    """One value of one metric about a run, or else about a call."""

    metric: str
    value: bool | float | str
    comment: str = ""
    trajectory: str = ""
    call_id: str = ""


def at_end(progress: Progress, failure: str = "", cancelled: bool = False) -> Iterator[Said]:
    """What is said about a trajectory that has ended, been interrupted or cancelled, or failed with `failure`."""
    if progress.paused and not (failure or cancelled):
        progress.interrupts += 1
    if not progress.calls:
        return
    about = {"trajectory": progress.trajectory, "call_id": "" if progress.trajectory else progress.last_call}
    for metric in ("tool_errors", "retries", "interrupts"):
        if count := getattr(progress, metric):
            yield Said(metric, count, **about)
    if failure and not cancelled:
        yield Said("success", False, failure, **about)
    elif doubt := "cancelled" if cancelled else _doubt(progress):
        yield Said("outcome", doubt, **about)
    else:
        yield Said("success", True, **about)


def _doubt(progress: Progress) -> str:
    if progress.paused:
        return "interrupted"
    if progress.stopped:
        return progress.stopped
    if progress.waiting_tools:
        return "tools_not_run"
    if progress.finish in _CUT_OFF:
        return f"cut_off:{progress.finish}"
    return "after_tool_error" if progress.ended_on_failure else ""


def answered(progress: Progress, tools: int, finish: str, call_id: str) -> None:
    """A model has answered in this trajectory, and asked for so many tools. call_id: empty when it is not known."""
    progress.calls += 1
    progress.waiting_tools = tools
    progress.ended_on_failure, progress.failed_since_answer = progress.failed_since_answer, False
    progress.finish = finish
    progress.last_call = call_id or progress.last_call


class Tools:
    """Counts what tools do, and remembers which call asked for them; bounded. Tools run in threads of their own."""

    def __init__(self, most: int = _KEPT_CALLS) -> None:
        self._most = most
        self._lock = Lock()
        self._asked: OrderedDict[str, str] = OrderedDict()

    def asked(self, call_id: str, tool_ids: Sequence[str]) -> None:
        """A model's answer asks for these tools."""
        with self._lock:
            for tool_id in tool_ids if call_id else ():
                self._asked[tool_id] = call_id
                if len(self._asked) > self._most:
                    self._asked.popitem(last=False)

    def started(self, progress: Progress, name: str) -> None:
        """A tool begins; after its failure that is a retry."""
        with self._lock:
            progress.waiting_tools = max(0, progress.waiting_tools - 1)
            if name in progress.failed_tools:
                progress.retries += 1
                progress.failed_tools.discard(name)

    def failed(self, progress: Progress, name: str, tool_id: str, why: str) -> Said | None:
        """A tool has failed; what is said about the call that asked for it, if it is known."""
        with self._lock:
            progress.tool_errors += 1
            progress.failed_since_answer = True
            progress.failed_tools.add(name)
            # Some frameworks do not say which tool call it is; it is one of the last answer's.
            call_id = self._asked.get(tool_id, "") if tool_id else progress.last_call
        return Said("tool_error", True, f"{name}: {why}", call_id=call_id) if call_id else None
