"""The floors: what can be had without any model. A student that does not beat them has learnt nothing.

Two of them. The commonest answer of a pattern's training calls. And the nearest neighbour: the answer to the training
call whose words are most alike (cosine of tf-idf), its values exchanged for those that stand in the same place of the
new prompt. A value is moved when it occurs in the neighbour's prompt; its place is told by the words beside it and by
its form (`PA-17` and `PA-4` have one form).
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..traffic.actions import action_of
from ..traffic.canonical import canonical
from ..traffic.skeleton import system_text
from .curate import Message, Trajectory
from .measures import Question

_TOKEN = re.compile(r"\w+(?:[-./:#@+']\w+)*|[^\w\s]")
_DIGITS, _LETTERS = re.compile(r"\d+"), re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?")
_REACH = 4_000
"""Tokens of a message that are searched for a value's place, from its end."""


def commonest(train: Sequence[Trajectory]) -> dict[str, Message]:
    """By pattern, the answer that the teacher gave most often in the training sessions."""
    answers: dict[str, Counter[bytes]] = {}
    examples: dict[bytes, Message] = {}
    for item in train:
        for call in item.trainable:
            message = item.messages[call.index]
            key = _action_key(message)
            examples.setdefault(key, message)
            answers.setdefault(call.pattern_id, Counter())[key] += 1
    return {pattern: examples[tally.most_common(1)[0][0]] for pattern, tally in answers.items()}


def _action_key(message: Message) -> bytes:
    action = action_of(message)
    return canonical([action.kind, [[call.name, call.arguments] for call in action.calls], action.text])


@dataclass
class _Shelf:
    """The training calls of one pattern, found by their words."""

    calls: list[Question] = field(default_factory=list)
    places: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """By word: (call, how often)."""
    norms: list[float] = field(default_factory=list)

    def weight(self, word: str) -> float:
        return math.log((1 + len(self.calls)) / (1 + len(self.places.get(word, ())))) + 1


class Neighbours:
    """The nearest training call's answer, adapted. Answers like a student."""

    def __init__(self, train: Sequence[Trajectory]) -> None:
        self._shelves: dict[str, _Shelf] = {}
        for item in train:
            for call in item.trainable:
                self._put(Question(item, call))
        for shelf in self._shelves.values():
            squares = [0.0] * len(shelf.calls)
            for word, places in shelf.places.items():
                for at, count in places:
                    squares[at] += (count * shelf.weight(word)) ** 2
            shelf.norms = [math.sqrt(square) or 1.0 for square in squares]

    def _put(self, question: Question) -> None:
        shelf = self._shelves.setdefault(question.call.pattern_id, _Shelf())
        for word, count in _words(_prompt(question)).items():
            shelf.places.setdefault(word, []).append((len(shelf.calls), count))
        shelf.calls.append(question)

    def answer(self, question: Question) -> Message | None:
        """The adapted answer of the nearest call of the same pattern; None for a pattern without training calls."""
        shelf = self._shelves.get(question.call.pattern_id)
        if shelf is None:
            return None
        likeness = [0.0] * len(shelf.calls)
        for word, count in _words(_prompt(question)).items():
            weight = shelf.weight(word)
            for at, times in shelf.places.get(word, ()):
                likeness[at] += count * times * weight * weight
        best = max(range(len(likeness)), key=lambda at: likeness[at] / shelf.norms[at])
        near = shelf.calls[best]
        return _adapted(near.teacher, _prompt(near), _prompt(question))


def _prompt(question: Question) -> list[Message]:
    return question.trajectory.messages[: question.call.index]


def _words(messages: Sequence[Message]) -> Counter[str]:
    """What tells calls apart: the newest message, the task, and the tools that were called so far."""
    said = [message for message in messages if message.get("role") not in ("system", "developer")]
    found = Counter(_low(said[-1])) if said else Counter()
    found.update(f"task:{word}" for word in _low(next((m for m in said if m.get("role") == "user"), {})))
    called = [call.name for message in said if message.get("role") == "assistant" for call in action_of(message).calls]
    found.update(f"called:{name}" for name in called)
    return found


def _low(message: Message) -> list[str]:
    return [token.lower() for token in _TOKEN.findall(_text(message))]


def _text(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content or ""


def _adapted(answer: Message, old: list[Message], new: list[Message]) -> Message:
    """The answer with each value that the old prompt holds exchanged for its counterpart in the new one."""
    mover = _Mover(old, new)
    adapted: Message = {"role": "assistant", "content": mover.text(answer.get("content"))}
    if calls := answer.get("tool_calls"):
        adapted["tool_calls"] = [mover.call(call) for call in calls]
    return adapted


@dataclass(frozen=True)
class _Said:
    """A message's text, cut into words."""

    role: str
    text: str
    tokens: list[str]
    spans: list[tuple[int, int]]

    def beside(self, start: int, end: int) -> tuple[str, str]:
        """The words left and right of some tokens; the message's edges count as words."""
        left = self.tokens[start - 1].lower() if start else "^"
        return left, self.tokens[end].lower() if end < len(self.tokens) else "$"

    def last(self, parts: Sequence[str]) -> int | None:
        """Where these tokens stand last."""
        starts = range(len(self.tokens) - len(parts), -1, -1)
        return next((at for at in starts if self.tokens[at : at + len(parts)] == parts), None)


class _Mover:
    """Finds the counterparts of values; one value has one counterpart in an answer."""

    def __init__(self, old: list[Message], new: list[Message]) -> None:
        self._old, self._new = list(_said(old)), list(_said(new))
        self._known: dict[str, str] = {}

    def call(self, call: Message) -> Message:
        function = call.get("function") or {}
        try:
            arguments = json.loads(function.get("arguments") or "{}")
        except ValueError:
            return call
        return {**call, "function": {**function, "arguments": json.dumps(self.value(arguments), ensure_ascii=False)}}

    def value(self, value: Any) -> Any:
        """An argument with all that is in it."""
        if isinstance(value, dict):
            return {name: self.value(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        if isinstance(value, str):
            return self.moved(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return value
        moved = self.moved(str(value))
        return json.loads(moved) if _NUMBER.fullmatch(moved) else value

    def text(self, text: Any) -> Any:
        """In running text only what is no plain word is moved: ids, numbers, dates."""
        if not isinstance(text, str):
            return text
        return _TOKEN.sub(lambda found: self.moved(found[0]) if _DIGITS.search(found[0]) else found[0], text)

    def moved(self, value: str) -> str:
        """The counterpart of a value; itself where there is none."""
        if value not in self._known:
            self._known[value] = self._counterpart(value)
        return self._known[value]

    def _counterpart(self, value: str) -> str:
        parts = _TOKEN.findall(value)
        for said in self._old if parts else ():
            at = said.last(parts)
            if at is not None:
                found = self._candidates(said.role, parts, said.beside(at, at + len(parts)))
                # The first of equals: the newest message, from its start.
                return max(found, key=lambda candidate: candidate[0], default=(0.0, value))[1]
        return value

    def _candidates(self, role: str, parts: list[str], beside: tuple[str, str]) -> Iterator[tuple[float, str]]:
        """Spans of the new prompt's messages of this role, each with how alike its place is. Words stand for words, and
        what has digits for what has digits."""
        forms = [_form(part) for part in parts]
        plain = not any(_DIGITS.search(part) for part in parts)
        for age, said in enumerate(one for one in self._new if one.role == role):
            for start in range(len(said.tokens) - len(parts) + 1):
                left, right = said.beside(start, start + len(parts))
                span = said.tokens[start : start + len(parts)]
                if plain == any(_DIGITS.search(token) for token in span):
                    continue
                formed = [_form(token) for token in span] == forms
                # The form of a plain word says next to nothing about where it belongs.
                alike = 1.5 * (left == beside[0]) + 1.5 * (right == beside[1]) + formed * (0.5 if plain else 2.0)
                if alike >= 2:
                    yield alike - 0.01 * age, said.text[said.spans[start][0] : said.spans[start + len(parts) - 1][1]]


def _said(messages: Sequence[Message]) -> Iterator[_Said]:
    """The messages, the newest first; all system texts are one, the last."""
    for message in reversed(messages):
        if message.get("role") not in ("system", "developer"):
            yield _cut(str(message.get("role")), _text(message))
    yield _cut("system", system_text(list(messages)))


def _cut(role: str, text: str) -> _Said:
    found = list(_TOKEN.finditer(text))[-_REACH:]
    return _Said(role, text, [one[0] for one in found], [one.span() for one in found])


def _form(token: str) -> str:
    return _LETTERS.sub(lambda found: "A" if found[0].isupper() else "a", _DIGITS.sub("9", token))
