"""Answers of the teacher that are better not learnt, as far as the log alone can tell.

Where the same was asked several times, word for word, and most answers agree, those that do not are likely mistakes
(self-consistency; Wang et al. 2023). Answers that cannot be carried out are known already (`CallRef.sound`), and what
users' verifiers refuse is no success. A tool that failed and was called again rightly is no mistake: the repair is what
an agent has to learn.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from ..traffic.canonical import canonical, canonical_message
from .curate import Message, Trajectory
from .duplicates import bare

LEAST_ANSWERS = 3
MAJORITY = 0.6
"""Share of the answers that must agree before the others count as mistakes."""
_FAILED = re.compile(
    r"""(?ix) ^[^\w{"']{0,3}(?:(?:error|exception|traceback|failed|failure|invalid|not\ found)\b|\w*error:)
    | ["'](?:error|errors|exception|is_error)["']\s*:(?!\s*(?:null|none|false|""|\[\]|\{\}))
    | ["']?(?:ok|success)["']?\s*:\s*false | ["']status["']\s*:\s*["']?(?:error|failed|[45]\d\d)
    """
)


def inconsistent(
    items: Sequence[Trajectory], varying: Callable[[list[Message]], Any] = lambda messages: messages
) -> list[Trajectory]:
    """The sessions whose first answer differs from what the teacher mostly answers to the very same opening.

    `varying`: the part of the opening messages that says what is asked."""
    groups: dict[bytes, list[tuple[Trajectory, bytes]]] = {}
    for item in items:
        first = item.trainable[0].index
        answer = canonical_message(_action(item.messages[first]))
        groups.setdefault(canonical(varying(item.messages[:first])), []).append((item, answer))
    found: list[Trajectory] = []
    for members in groups.values():
        answer, count = Counter(answer for _, answer in members).most_common(1)[0]
        if len(members) >= LEAST_ANSWERS and count >= MAJORITY * len(members) and count > 1:
            found += [item for item, given in members if given != answer]
    return found


def _action(answer: Message) -> Message:
    """What an answer does: its calls, or that it speaks. Words differ without being wrong."""
    calls = bare(answer).get("tool_calls")
    return {"role": "assistant", "tool_calls": calls} if calls else {"role": "assistant", "content": "text"}


def repairs(messages: Sequence[Message]) -> int:
    """How many times a tool failed and the agent called a tool again afterwards."""
    found = 0
    failed = False
    for message in messages:
        if message.get("role") == "tool":
            failed = failed or has_failed(message)
        elif message.get("role") == "assistant":
            found += failed and bool(message.get("tool_calls"))
            failed = False
    return found


def has_failed(result: Message) -> bool:
    """Whether a tool's result says that it did not work."""
    content = result.get("content")
    return isinstance(content, str) and _FAILED.search(content[:2000]) is not None
