"""Which run of an agent a call belongs to; no cooperation of the agent needed.

A call continues the run whose request and answer its own messages extend; the longest such prefix decides. Runs that
began identically are told apart by their answers. If even those are equal, the run that has waited longest for its next
call gets it. Runs never cross callers. An explicit id from the agent wins over all of this.

Two kinds of agents do not send back word for word what was said. Where the system prompt has changed in the middle of
a run (a clock), the session key, which leaves system prompts out, and the content of the last answer decide. Where the
answer comes back re-spelled, the question that it answered does, if only one run waits there.

Nothing is guessed from time alone, except that a failed call and its unchanged repetition within two minutes are one
run. A call whose predecessor is unknown opens a new run, named after the call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from .cache import Generations
from .lookup import CHUNK, by_ids, ids_table
from .messages import Named
from .novelty import ROWS_PER_LOOKUP
from .store import Store

REPEAT_WINDOW_S = 120.0
"""A failed call and its unchanged repetition within this time belong together."""
RETRY_WINDOW_S = 660.0
"""The same when the client library says that it is a retry; its longest timeout is 600 s."""
PATIENCE_S = 1800.0
"""Among equal runs, one that has waited longer than this for its next call is taken for abandoned."""
KEPT_PER_NAME = 256
"""Equal runs that are remembered apart."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """What decides on a call's run."""

    call_id: str
    caller: str
    started_at: float
    chain: list[Named]
    """The request's messages."""
    session: str
    answer_id: str | None
    answer_content: int
    """`Named.content_id` of the answer; 0 for none."""
    toolset_id: str | None
    retry: int
    failed: bool
    explicit: str


class Link(msgspec.Struct, frozen=True, gc=False):
    """Where a call belongs."""

    trajectory_id: str
    turn: int
    """Steps before this one in its branch of the run; a repetition has the turn of what it repeats."""
    explicit: bool
    retry_of: str | None = None
    """The call that this one repeats: both are attempts of one action."""
    known: bool = False
    """The run has a call already."""


class Node(msgspec.Struct, eq=False, gc=False):
    """A known call that others may continue or repeat."""

    call_id: str
    trajectory_id: str
    turn: int
    started_at: float
    toolset_id: str | None
    failed: bool
    extended: bool = False
    repeated: bool = False


Names = Generations[tuple[str | int, ...], Node | list[Node]]
"""Nearly always one: a list for each would be work for the garbage collector."""


@dataclass
class Finder:
    """Links calls to runs. Feed it in order of their start. Not thread-safe."""

    store: Store
    capacity: int = 50_000
    _answers: Names = field(init=False)
    """Calls by (caller, name of the answer)."""
    _tails: Names = field(init=False)
    """Calls by (caller, name of the request's last message)."""
    _contents: Names = field(init=False)
    """Calls by (caller, session key and digest of the answer); only of calls that this object has linked."""
    _absent: Generations[tuple[str, str], bool] = field(init=False)
    """Assistant messages that no stored call has given: few-shot examples, answers from before this proxy."""

    def __post_init__(self) -> None:
        self._answers, self._tails = Generations(self.capacity), Generations(self.capacity)
        self._contents, self._absent = Generations(self.capacity), Generations(self.capacity)
        newest = f"started_at > (SELECT max(started_at) FROM calls) - {RETRY_WINDOW_S}"
        self._recall(self.store.rows(f"{_RECALLED} AND {newest} ORDER BY started_at DESC LIMIT 20000"))

    def prepare(self, steps: Sequence[Step]) -> None:
        """Fetch what the steps may continue and the cache does not hold, in one query for all of them."""
        coming = {(step.caller, step.answer_id) for step in steps}
        wanted: set[tuple[str, str]] = set()
        for step in steps:
            for message in reversed(step.chain):
                if message.role != "assistant":
                    continue
                key = step.caller, message.message_id
                if key in coming or key in self._answers:
                    if not step.explicit:
                        break  # The newest known answer decides; what lies before it is not asked for.
                elif key not in self._absent:
                    wanted.add(key)
        if wanted:
            self._recall_answers({name for _, name in wanted})
            for key in wanted:
                self._absent[key] = True

    def link(self, step: Step) -> Link:
        """The run of one call; remembers the call for those that follow."""
        before, repeats = self._before(step)
        retry_of = before.call_id if before and repeats else None
        turn = 0 if before is None else before.turn if repeats else before.turn + 1
        if step.explicit:
            turn = turn or sum(message.role == "assistant" for message in step.chain)
            link = Link(f"x:{step.explicit}", turn, True, retry_of, before is not None)
        else:
            name = before.trajectory_id if before else step.call_id
            link = Link(name, turn, name.startswith("x:"), retry_of, before is not None)
        node = Node(step.call_id, link.trajectory_id, link.turn, step.started_at, step.toolset_id, step.failed)
        self._remember(step.caller, step.answer_id, step.chain[-1].message_id, node)
        if step.session and step.answer_content:
            _append(self._contents, (step.caller, step.session, step.answer_content), node)
        return link

    def _before(self, step: Step) -> tuple[Node | None, bool]:
        """The call that this one repeats (then True) or continues."""
        repeated = self._repeated(step)
        if repeated is not None:
            repeated.repeated = repeated.extended = True
            return repeated, True
        continued = self._continued(step)
        if continued is not None:
            continued.extended = True
        return continued, False

    def _repeated(self, step: Step) -> Node | None:
        window = RETRY_WINDOW_S if step.retry else REPEAT_WINDOW_S
        waiting = None
        for node in self._fitting(self._tails, step, (step.caller, step.chain[-1].message_id)):
            if node.repeated or node.toolset_id != step.toolset_id:
                continue
            if 0 <= step.started_at - node.started_at <= window:
                if node.failed:
                    return node
                waiting = waiting if node.extended else node
        # The answer was sent but did not arrive: the client saw a broken connection, we did not.
        return waiting if step.retry else None

    def _continued(self, step: Step) -> Node | None:
        chain, last = step.chain, 0
        for at in range(len(chain) - 1, -1, -1):
            message = chain[at]
            if message.role != "assistant":
                continue
            if nodes := self._fitting(self._answers, step, (step.caller, message.message_id)):
                return _longest_waiting(nodes, step.started_at)
            if at and (node := self._reworded(step, chain[at - 1].message_id)):
                return node
            last = last or message.content_id
        if not last or not step.session:
            return None
        nodes = self._fitting(self._contents, step, (step.caller, step.session, last))
        return _longest_waiting(nodes, step.started_at) if nodes else None

    def _reworded(self, step: Step, tail: str) -> Node | None:
        """The one call that was asked this and waits for its next: its answer came back in other words.

        Some agents trim or re-spell what they got. With several such runs there is no telling which; then none.
        """
        nodes = [node for node in self._fitting(self._tails, step, (step.caller, tail)) if not node.extended]
        return nodes[0] if len({node.trajectory_id for node in nodes}) == 1 else None

    @staticmethod
    def _fitting(names: Names, step: Step, key: tuple[str | int, ...]) -> Sequence[Node]:
        """The calls of that name that may be of the step's run."""
        found = names.get(key)
        if found is None:
            return ()
        nodes = found if isinstance(found, list) else (found,)
        if not step.explicit:
            return nodes
        return [node for node in nodes if node.trajectory_id == f"x:{step.explicit}"]

    def _remember(self, caller: str, answer_id: str | None, tail: str, node: Node) -> None:
        _append(self._tails, (caller, tail), node)
        if answer_id is not None:
            _append(self._answers, (caller, answer_id), node)

    def _recall_answers(self, names: set[str]) -> None:
        if len(names) * ROWS_PER_LOOKUP < self.store.value("SELECT count(*) FROM calls"):
            # What is no stored message was no answer either; most often that spares the pass over all calls.
            stored = by_ids(self.store, "SELECT message_id FROM messages WHERE message_id IN ({ids})", names)
            names = {name.hex for (name,) in stored}
        # One column of all calls is read for the ids, and then only the calls themselves.
        sql = "SELECT call_id FROM calls SEMI JOIN batch ON response_id = CAST(id AS UUID)"
        found = [str(call_id) for (call_id,) in self.store.join(sql, ids_table(names))] if names else []
        self._recall(by_ids(self.store, f"{_RECALLED} AND call_id IN ({{ids}})", found))

    def _recall(self, rows: list[tuple[Any, ...]]) -> None:
        """Remember calls of the store; `rows` are those of `_RECALLED`."""
        rows = sorted(rows, key=lambda row: row[5])
        last = self._last_turns({row[3] for row in rows}, rows[0][5]) if rows else {}
        for caller, answer, tail, trajectory, turn, started_at, toolset, call_id, retried in rows:
            toolset = toolset.hex if toolset else None
            extended = retried or last.get(trajectory, turn) > turn
            node = Node(str(call_id), trajectory, turn, started_at, toolset, answer is None, extended, retried)
            self._remember(caller, answer.hex if answer else None, tail.hex, node)

    def _last_turns(self, runs: set[str], since: float) -> dict[str, int]:
        # What continues these calls lies between the first of them and the end of their runs: the rest is passed over.
        listed = ids_table(runs)
        if len(runs) <= CHUNK:
            ends = by_ids(self.store, "SELECT last_at FROM trajectories WHERE trajectory_id IN ({ids})", runs)
        else:
            # Many, as after a start: one pass over two columns costs less than that many looks into the index.
            ends = self.store.join("SELECT last_at FROM trajectories SEMI JOIN batch ON trajectory_id = id", listed)
        until = max((end for (end,) in ends), default=since)
        sql = f"""
            SELECT trajectory_id, max(turn) FROM calls SEMI JOIN batch ON trajectory_id = id
            WHERE started_at BETWEEN {since!r}::DOUBLE AND {until!r}::DOUBLE GROUP BY 1
        """
        return dict(self.store.join(sql, listed))


_RECALLED = """
SELECT caller, response_id, request_tail, trajectory_id, turn, started_at, toolset_id, call_id,
    coalesce(retried, FALSE)
FROM calls WHERE trajectory_id IS NOT NULL AND request_tail IS NOT NULL
"""


def _append(names: Names, key: tuple[str | int, ...], node: Node) -> None:
    nodes = names.get(key)
    if nodes is None:
        names[key] = node
        return
    if not isinstance(nodes, list):
        nodes = names[key] = [nodes]
    nodes.append(node)
    if len(nodes) % 32 == 0:
        # Where many runs are equal, those that have gone on are no longer asked for, but for the newest.
        nodes[:-1] = [one for one in nodes[:-1] if not one.extended][1 - KEPT_PER_NAME :]


def _longest_waiting(nodes: Sequence[Node], now: float) -> Node:
    """Of equal runs the one to continue; a fork of the newest when none waits."""
    latest = None
    for node in nodes:
        if not node.extended:
            if now - node.started_at <= PATIENCE_S:
                return node
            latest = node
    return latest or nodes[-1]
