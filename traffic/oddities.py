"""What is odd about stored content, though nothing is wrong with the store: it is kept as it came, counted and shown.

    unknown role            none of OpenAI's
    unknown part            a content part of a type that chat completions do not have
    odd content             content that is neither text nor a list of parts nor missing
    huge message            more than a million bytes
    repeated key            one key twice in an object: both are stored, the last one counts
    broken text             half of a surrogate pair
    result without its call a tool's result that answers no call of the assistant's turn before it
    call without its result the conversation went on although a tool call was not answered
    unreadable …            a body that is no chat request or answer; it is stored byte for byte with its call

Agents that send such things work, more or less; students learn from what they send, so somebody should look.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from .cache import Generations
from .snapshots import Snapshot

HUGE_BYTES = 1_000_000
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PARTS = ("text", "image_url", "input_audio", "file", "refusal")
REMEMBERED = 100_000
"""Messages whose open tool calls are known; what follows a message that is forgotten is not judged."""
_HALF = re.compile(r"\\ud[89a-f]", re.IGNORECASE)
_UNREADABLE = """
SELECT split_part(split_part(error, ':', 1), ' ', 1) AS kind, count(*), any_value(call_id)::VARCHAR FROM calls
WHERE error IN ('bad_json', 'no_messages') OR starts_with(error, 'unreadable_') OR starts_with(error, 'encoded:')
GROUP BY kind ORDER BY kind
"""


@dataclass(frozen=True)
class Oddity:
    """One kind of them."""

    what: str
    found: int
    example: str
    """Id of the first message, or of a call."""


class _Open(NamedTuple):
    """Tool calls of an assistant's turn, and those that have their result up to a message."""

    asked: frozenset[str]
    given: frozenset[str]


_NOTHING = _Open(frozenset(), frozenset())


class _Turn(NamedTuple):
    """What matters of a message for those that follow it."""

    depth: int
    message_id: str
    parent_id: str
    answers: str | None
    """The tool call that it is the result of."""
    asked: frozenset[str]
    """The tool calls that it makes."""


class Oddities:
    """Counts them while all messages pass by, roughly in the order in which they were stored."""

    def __init__(self) -> None:
        self._found: dict[str, list[Any]] = {}
        self._open: Generations[str, _Open] = Generations(REMEMBERED)
        self._turns: list[_Turn] = []
        """Not judged yet: within a batch, rows are in no order."""

    def see(self, message_id: str, parent_id: str, depth: int, message: dict[str, Any], body: str) -> None:
        """Look at one message; `body` is its text, `parent_id` counts for nothing at depth 0."""
        for what in _by_itself(message, body):
            self._count(what, 1, message_id)
        answers, calls = (
            message.get("tool_call_id") if message.get("role") == "tool" else None,
            message.get("tool_calls"),
        )
        ids = [call.get("id") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
        asked = frozenset(one for one in ids if isinstance(one, str))
        self._turns.append(_Turn(depth, message_id, parent_id, answers if isinstance(answers, str) else None, asked))
        if len(self._turns) >= REMEMBERED:
            self._judge()

    def found(self, view: Snapshot) -> list[Oddity]:
        """All kinds that were seen, and the bodies of calls that could not be read."""
        self._judge()
        for kind, count, call_id in view.rows(_UNREADABLE):
            self._count(_CALLS.get(kind) or str(kind), count, call_id)
        return [Oddity(what, count, example) for what, (count, example) in sorted(self._found.items())]

    def _count(self, what: str, count: int, example: str) -> None:
        self._found.setdefault(what, [0, example])[0] += count

    def _judge(self) -> None:
        for turn in sorted(self._turns, key=lambda turn: turn.depth):
            before = self._open.get(turn.parent_id) if turn.depth else _NOTHING
            if turn.answers is None:
                self._open[turn.message_id] = _Open(turn.asked, frozenset())
                if before and before.asked - before.given:
                    self._count("call without its result", 1, turn.message_id)
            elif before:  # of an unknown turn nothing is said, nor about what follows it
                self._open[turn.message_id] = before._replace(given=before.given | {turn.answers})
                if turn.answers not in before.asked:
                    self._count("result without its call", 1, turn.message_id)
        self._turns = []


_CALLS = {"bad_json": "unreadable body: no JSON", "no_messages": "unreadable body: no messages"}


def _by_itself(message: dict[str, Any], body: str) -> Iterable[str]:
    content = message.get("content")
    if message.get("role") not in ROLES:
        yield "unknown role"
    if isinstance(content, list):
        if not all(isinstance(part, dict) and part.get("type") in PARTS for part in content):
            yield "unknown part"
    elif content is not None and not isinstance(content, str):
        yield "odd content"
    if len(body) > HUGE_BYTES:
        yield "huge message"
    if _repeats_a_key(message, body):
        yield "repeated key"
    if _HALF.search(body) and _is_broken(message):
        yield "broken text"


def _repeats_a_key(message: dict[str, Any], body: str) -> bool:
    try:
        # What was dropped had quotation marks; decoding with care costs ten times as much and is for few.
        if msgspec.json.encode(message).count(b'"') == body.count('"'):
            return False
        return bool(json.loads(body, object_pairs_hook=_Pairs).repeats)
    except (ValueError, RecursionError, AttributeError):
        return False


class _Pairs(dict[str, Any]):
    """An object that knows whether it, or one in it, had a key twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        inner = [one for _, value in pairs for one in (value if isinstance(value, list) else [value])]
        self.repeats = len(self) < len(pairs) or any(isinstance(one, _Pairs) and one.repeats for one in inner)


def _is_broken(message: dict[str, Any]) -> bool:
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False
