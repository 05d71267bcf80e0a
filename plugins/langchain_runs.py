"""Which run of LangChain's callbacks belongs to which trajectory. Pure: no clock, no I/O, and no LangChain.

Callbacks form a tree: a run names its parent. The root is a trajectory. A graph that runs inside another one (a
sub-agent: a node that is a graph, or a tool that invokes one) is a trajectory of its own, whose parent is the one
around it. It is told by its nodes: LangGraph tags them with the step of the graph whose children they are.

A graph that was interrupted is continued by a later root run of the same thread; both are one trajectory. Where the
first part ran in another process nobody here knows its name; then none is given, and the proxy finds the trajectory by
its messages.

Invariant: every map is bounded, and a run that is not known (its start was missed, or forgotten) leaves its calls
untagged instead of wrongly tagged.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any
from uuid import UUID

from .run_outcomes import Progress
from .tags import Tag, name_of

TRAJECTORY_KEY, PATTERN_KEY = "tutelage_trajectory", "tutelage_pattern"
"""Keys of a run's metadata (`config["metadata"]`) that name its trajectory and pattern."""
MOST_RUNS, MOST_PAUSED = 10_000, 1_000
_NAMESPACE, _NODE, _STEP_TAG = "langgraph_checkpoint_ns", "langgraph_node", "graph:step:"
_UNNAMED_GRAPH = "LangGraph"
_PREBUILT_NODES = ("model", "agent")
"""Nodes that call the model in LangChain's own agents; they say nothing about what the agent does."""


@dataclass(slots=True, eq=False)
class Frame(Progress):
    """One trajectory, and where it runs."""

    parent: str = ""
    thread: str = ""
    conversation: str = ""
    place: str = ""
    """Checkpoint namespace of the graph; empty for a root."""
    graph: str = ""
    """Name of the graph, empty when nobody gave it one."""
    label: str = ""
    """The value of `TRAJECTORY_KEY` around it."""
    resumed: bool = False
    checkpoint: str = ""
    """Where the graph stopped, as far as LangGraph told."""
    rivals: bool = False
    """Another trajectory of the same thread had stopped and not gone on: two graphs share the thread's name."""


@dataclass(slots=True, eq=False)
class Run:
    """One run in progress."""

    frame: Frame | None
    namespace: str
    name: str
    owns: bool = False
    """It is the run of its frame's graph: with it the trajectory ends."""
    call: Any = None
    """What the handler remembers of a model call."""


class Threads:
    """Trajectories that were interrupted, by thread and place in it. Shared by all handlers of a process."""

    def __init__(self, most: int = MOST_PAUSED) -> None:
        self._most = most
        self._paused: OrderedDict[tuple[str, str], Frame] = OrderedDict()
        self._lock = Lock()

    def keep(self, frame: Frame) -> None:
        """Remember a trajectory that a later run may continue."""
        if not frame.thread:
            return
        with self._lock:
            before = self._paused.get((frame.thread, frame.place), frame)
            frame.rivals = frame.rivals or before is not frame
            self._paused[frame.thread, frame.place] = frame
            while len(self._paused) > self._most:
                self._paused.popitem(last=False)

    def take(self, thread: str, place: str) -> Frame | None:
        """The trajectory that is continued there; each is given once."""
        with self._lock:
            return self._paused.pop((thread, place), None)


class Runs:
    """The runs in progress. Thread-safe: parallel nodes report from threads of their own."""

    def __init__(self, threads: Threads, most: int = MOST_RUNS) -> None:
        self._threads, self._most = threads, most
        self._runs: OrderedDict[UUID, Run] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, run_id: UUID | None) -> Run | None:
        """A run in progress."""
        return self._runs.get(run_id) if run_id is not None else None

    def start(
        self,
        run_id: UUID,
        parent_id: UUID | None,
        metadata: Mapping[str, Any],
        name: str = "",
        *,
        tags: Iterable[str] | None = None,
        continues: bool = False,
        is_call: bool = False,
    ) -> Run:
        """A run begins. continues: it was given no new input. is_call: it is a model call, not a chain."""
        namespace = str(metadata.get(_NAMESPACE) or "")
        with self._lock:
            parent = self._runs.get(parent_id) if parent_id is not None else None
            if parent_id is None:
                frame = None if is_call else self._root(run_id, metadata, name, continues)
                run = Run(frame, namespace, name, owns=frame is not None)
            else:
                if parent is not None and parent.frame is not None and not parent.owns and _is_node(tags):
                    self._open(parent_id, parent, metadata)
                run = Run(parent.frame if parent else None, namespace, name)
            self._runs[run_id] = run
            while len(self._runs) > self._most:
                self._runs.popitem(last=False)
        return run

    def end(self, run_id: UUID) -> Run | None:
        """A run has ended; None when it is not known."""
        with self._lock:
            return self._runs.pop(run_id, None)

    def confirm(self, run_id: UUID | None, checkpoint: str) -> None:
        """A root goes on from this checkpoint. Where two graphs share a thread and it is not the one at which the
        trajectory stopped (people may also have changed the state), it is not told which goes on: the proxy finds out.
        """
        with self._lock:
            run = self._runs.get(run_id) if run_id is not None else None
            frame = run.frame if run is not None and run.owns else None
            if run is None or frame is None or frame.place or not frame.rivals or frame.checkpoint == checkpoint:
                return
            self._threads.keep(frame)
            run.frame = Frame("", thread=frame.thread, conversation=frame.conversation, graph=_given(run.name))
            run.frame.resumed = True

    def pause(self, frame: Frame) -> None:
        """A trajectory's graph has stopped, and may go on later."""
        self._threads.keep(frame)

    def _root(self, run_id: UUID, metadata: Mapping[str, Any], name: str, continues: bool) -> Frame:
        thread, label = str(metadata.get("thread_id") or ""), str(metadata.get(TRAJECTORY_KEY) or "")
        paused = self._threads.take(thread, "") if thread else None
        if paused is not None and continues:
            return _again(paused)
        trajectory = label or ("" if continues and thread else str(run_id))
        return Frame(
            name_of(trajectory),
            thread=thread,
            conversation=name_of(thread),
            graph=_given(name),
            label=label,
            resumed=continues,
        )

    def _open(self, run_id: UUID, run: Run, metadata: Mapping[str, Any]) -> None:
        """The run of a graph inside another one: its first node has begun."""
        outer = run.frame
        assert outer is not None
        run.owns = True
        paused = self._threads.take(outer.thread, run.namespace) if outer.resumed and outer.thread else None
        if paused is not None:
            run.frame = _again(paused)
            return
        label = str(metadata.get(TRAJECTORY_KEY) or "")
        # Continued, and not known here: the proxy finds out.
        trajectory = label if label != outer.label else "" if outer.resumed and not outer.trajectory else str(run_id)
        run.frame = Frame(
            name_of(trajectory),
            parent=outer.trajectory,
            thread=outer.thread,
            conversation=outer.conversation,
            place=run.namespace,
            graph=_given(run.name),
            label=label,
            resumed=outer.resumed,
        )


def tag_of(run: Run, metadata: Mapping[str, Any]) -> Tag:
    """What a model call tells the proxy."""
    frame = run.frame
    if frame is None:
        named, pattern = metadata.get(TRAJECTORY_KEY) or "", metadata.get(PATTERN_KEY) or ""
        return Tag(trajectory=name_of(named), pattern=name_of(pattern))
    return Tag(frame.trajectory, frame.parent, frame.conversation, name_of(hint_of(frame.graph, metadata)))


def hint_of(graph: str, metadata: Mapping[str, Any]) -> str:
    """The name of the work that a node does: the node's, after the graph's where it has one.

    The nodes of prebuilt agents are all called alike: there it is the agent's name, or none, and the pattern is found
    from the prompt. `tutelage_pattern` in the metadata wins.
    """
    if named := metadata.get(PATTERN_KEY):
        return str(named)
    node = str(metadata.get(_NODE) or "")
    if not node or node in _PREBUILT_NODES:
        return graph if node else ""
    return f"{graph}.{node}" if graph else node


def _is_node(tags: Iterable[str] | None) -> bool:
    """Whether a run is a node of the graph that its parent is; a task of the functional interface is none."""
    return any(tag.startswith(_STEP_TAG) for tag in tags or ())


def _given(name: str) -> str:
    return "" if name == _UNNAMED_GRAPH else name


def _again(frame: Frame) -> Frame:
    frame.resumed, frame.paused = True, False
    return frame
