"""The referee of the runners: the rules under the pattern's tool policy, and whether a judge is to follow."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..traffic.compare import is_unsure
from ..traffic.tool_policy import ToolPolicy
from .replies import Reply
from .shadow import AUDIT, SHADOW, Label, Task, judge


@dataclass(frozen=True)
class PolicyReferee:
    """See `shadow.Referee`."""

    policy: Callable[[str], ToolPolicy]
    """The tool policy of a pattern, by its id."""
    judged: bool = False
    """There is a judge for what the rules cannot tell."""

    def __call__(self, task: Task, reply: Reply, at: float) -> Label:
        label = judge(task, reply, at, self.policy(task.pattern_id))
        waits = self.judged and task.kind in (SHADOW, AUDIT) and is_unsure(label.reason)
        return replace(label, waits=waits)
