"""Which span of the OpenAI Agents SDK belongs to which trajectory. Pure: no clock, no I/O, and not the SDK.

Each `Runner.run` is a `task` span. The first one of a trace is a trajectory that bears the trace's id; a further one
(a sub-agent as a tool, runs that share a trace) bears its own span's. The parent of a task inside of another one is the
trajectory around it. Handoffs stay in their task: the agent changes, the trajectory does not.

Invariant: all maps are bounded, and a span whose surroundings are not known leaves its calls untagged instead of
wrongly tagged.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

from .run_outcomes import Progress
from .tags import Tag, name_of

TRAJECTORY_KEY, PATTERN_KEY = "tutelage_trajectory", "tutelage_pattern"
"""Keys of a trace's metadata that name the trajectory of its first run, and the pattern of all its calls."""
MOST = 10_000
TASK, AGENT, FUNCTION, GUARDRAIL, TURN = "task", "agent", "function", "guardrail", "turn"
MODELS = ("generation", "response")
"""Kinds of spans that stand for a model call: a chat completion, or one of the Responses API."""


class SpanLike(Protocol):
    """What is read of a span."""

    @property
    def trace_id(self) -> str: ...
    @property
    def span_id(self) -> str: ...
    @property
    def parent_id(self) -> str | None: ...
    @property
    def span_data(self) -> Any: ...


@dataclass(slots=True, eq=False)
class Group:
    """What a trace says about all runs in it."""

    conversation: str = ""
    label: str = ""
    pattern: str = ""
    begun: bool = False
    """It has had a run."""


@dataclass(slots=True, eq=False)
class Task(Progress):
    """One run of an agent."""

    parent: str = ""
    group: Group | None = None
    failure: str = ""
    """The error that has ended it, as far as a span told."""


@dataclass(slots=True, eq=False)
class Place:
    """Where a span is."""

    task: Task
    agent: str = ""
    call: Any = None
    """What the processor remembers of a model call."""
    opened: bool = False
    """The span is the task itself."""


class Runs:
    """Traces and spans in progress. Thread-safe."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._groups: OrderedDict[str, Group] = OrderedDict()
        self._places: OrderedDict[str, Place] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._places) + len(self._groups)

    def open(self, trace_id: str, group_id: object, metadata: Mapping[str, Any] | None) -> None:
        """A trace begins."""
        known = metadata or {}
        label, pattern = known.get(TRAJECTORY_KEY) or "", known.get(PATTERN_KEY) or ""
        with self._lock:
            self._groups[trace_id] = Group(name_of(group_id or ""), name_of(label), name_of(pattern))
            _bound(self._groups, self._most)

    def close(self, trace_id: str) -> None:
        """A trace has ended."""
        with self._lock:
            self._groups.pop(trace_id, None)

    def start(self, span: SpanLike) -> Place | None:
        """A span begins; None when its surroundings are not known."""
        with self._lock:
            outer = self._places.get(span.parent_id) if span.parent_id else None
            if span.span_data.type == TASK:
                place = Place(self._task(span, outer), opened=True)
            elif outer is None:
                return None
            else:
                named = str(span.span_data.name or "") if span.span_data.type == AGENT else outer.agent
                place = Place(outer.task, named)
            self._places[span.span_id] = place
            _bound(self._places, self._most)
            return place

    def end(self, span: SpanLike) -> Place | None:
        """A span has ended; None when it is not known."""
        with self._lock:
            return self._places.pop(span.span_id, None)

    def _task(self, span: SpanLike, outer: Place | None) -> Task:
        group = self._groups.get(span.trace_id)
        first = group is not None and not group.begun and outer is None
        if group is not None:
            group.begun = True
        name = ((group.label if group else "") or span.trace_id) if first else span.span_id
        return Task(name_of(name), parent=outer.task.trajectory if outer else "", group=group)


def tag_of(place: Place) -> Tag:
    """What a model call tells the proxy. The work is called as the agent that does it."""
    task, group = place.task, place.task.group or Group()
    return Tag(task.trajectory, task.parent, group.conversation, group.pattern or name_of(place.agent))


def _bound(known: OrderedDict[str, Any], most: int) -> None:
    while len(known) > most:
        known.popitem(last=False)
