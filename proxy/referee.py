"""The referee of the runners: the rules under the pattern's tool policy, the users' functions where these are unsure,
and whether a judge is to follow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..traffic.compare import is_unsure
from ..traffic.tool_policy import ToolPolicy
from .replies import Message, Reply
from .shadow import AUDIT, SHADOW, Label, Task, judge
from .text_verifiers import Ruling


class Decides(Protocol):
    """Who may decide where the rules are unsure; see `text_verifiers`."""

    def decide(self, request: Mapping[str, Any], session: str, theirs: Message, ours: Message) -> Ruling | None: ...


@dataclass(frozen=True)
class PolicyReferee:
    """See `shadow.Referee`."""

    policy: Callable[[str], ToolPolicy]
    """The tool policy of a pattern, by its id."""
    judged: bool = False
    """There is a judge for what the rules cannot tell."""
    texts: Decides | None = None
    """The users' functions."""

    def __call__(self, task: Task, reply: Reply, at: float) -> Label:
        label = judge(task, reply, at, self.policy(task.pattern_id))
        if is_unsure(label.reason):
            label = self._asked(label, task, reply)
        waits = self.judged and task.kind in (SHADOW, AUDIT) and is_unsure(label.reason)
        return replace(label, waits=waits)

    def _asked(self, label: Label, task: Task, reply: Reply) -> Label:
        theirs, ours = (reply.message, task.answer) if task.kind == AUDIT else (task.answer, reply.message)
        if self.texts is None or theirs is None or ours is None:
            return label
        ruling = self.texts.decide(task.request, task.trajectory_id, theirs, ours)
        return replace(label, loss=ruling.loss(label.loss), reason=ruling.reason) if ruling else label
