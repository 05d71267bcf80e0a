"""The last look before training: is exactly what the student should learn trained, and nothing else?

Wrong masks train without an error and give a student that looks fine until it is used. So the rows are read again,
token by token, by a second route: roles are taken from the turn marks in the ids, not from how the rows were made. The
run is refused with one of six reasons:

    nothing_trained    a row without a trained token (a marker was not found)
    input_trained      a trained token outside an assistant turn, or a tool result inside one
    turn_cut           an answer that is missing, or ends before its end mark (rows were truncated)
    null_in_schema     a null planted in a tool's schema (columns were unified)
    answer_lost        a trained turn that lacks the words of its message or one of its tool calls
    other_template     ids that differ from what the student reads when it serves
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..serving.render import TURN_END, Message, Segment, prompt_segments, render_action, token_ids
from ..traffic.errors import BadInput
from ..traffic.students import PromptSpec
from .curate import Trajectory
from .rows import MASKED, Row, Tokenise

Decode = Callable[[list[int]], str]

_RESULT = "<tool_response>"


class AuditRefused(BadInput):
    """The rows would teach something else than the teacher's answers."""

    def __init__(self, reason: str, row_id: str, detail: str) -> None:
        super().__init__(f"Training was refused ({reason}) at row {row_id}: {detail}. Nothing was trained.")
        self.reason = reason


@dataclass(frozen=True)
class RoleCount:
    """Tokens of one role over all rows."""

    role: str
    """`system`, `user`, `assistant`, or `tool` for turns that hold tool results."""
    trained: int
    masked: int


def table_of(counts: Sequence[RoleCount]) -> str:
    """The audit as a table for people: tokens by role, with what is trained of them."""
    lines = [f"{'role':<10}{'tokens':>12}{'trained':>12}{'masked':>12}{'share':>8}"]
    total = RoleCount("all", sum(count.trained for count in counts), sum(count.masked for count in counts))
    for count in [*counts, total]:
        tokens = count.trained + count.masked
        share = f"{count.trained / tokens:.1%}" if tokens else "-"
        lines.append(f"{count.role:<10}{tokens:>12,}{count.trained:>12,}{count.masked:>12,}{share:>8}")
    return "\n".join(lines) + "\n"


def shown(row: Row, decode: Decode) -> str:
    """A row as a person reads it: what is trained stands between ⟦ and ⟧, in the tokens' own text."""
    pieces, place = [], 0
    for start, end in _trained_runs(row.labels):
        pieces += [decode(row.input_ids[place:start]), "⟦", decode(row.input_ids[start:end]), "⟧"]
        place = end
    return "".join([*pieces, decode(row.input_ids[place:])])


@dataclass(frozen=True)
class Span:
    """One turn in a row: ids[start:end] from its opening mark to its end mark, both included."""

    role: str
    start: int
    end: int


class Auditor:
    """Checks rows. `tokenise` is the serving engine's; `decode` turns ids into text exactly."""

    def __init__(self, spec: PromptSpec, tokenise: Tokenise, decode: Decode) -> None:
        self._spec, self._tokenise, self._decode = spec, tokenise, decode
        self._open = tokenise("<|im_start|>")
        self._close = tokenise(TURN_END)
        if len(self._open) != 1 or len(self._close) != 1:
            raise AuditRefused("other_template", "-", "the tokenizer does not know the turn marks as single tokens")

    def audit(self, rows: Sequence[Row], trajectories: Sequence[Trajectory], left_out: int = 0) -> list[RoleCount]:
        """The table of tokens by role. `left_out`: answers known to be too long for a row. Raises AuditRefused."""
        by_id = {item.trajectory_id: item for item in trajectories}
        counts: dict[str, Counter[bool]] = {}
        for row in rows:
            source = by_id[row.trajectory_id]
            spans = self._spans(row)
            self._check_trained(row, spans)
            self._check_answers(row, source)
            for span in spans:
                tally = counts.setdefault(span.role, Counter())
                tally.update(label != MASKED for label in row.labels[span.start : span.end])
        for item in trajectories:
            _check_schemas(item)
        _check_complete(rows, trajectories, left_out)
        return [RoleCount(role, tally[True], tally[False]) for role, tally in sorted(counts.items())]

    def _spans(self, row: Row) -> list[Span]:
        starts = [place for place, token in enumerate(row.input_ids) if token == self._open[0]]
        spans = []
        for start, after in zip(starts, [*starts[1:], len(row.input_ids)], strict=True):
            text = self._decode(row.input_ids[start:after])
            role = text.removeprefix("<|im_start|>").partition("\n")[0]
            spans.append(Span("tool" if role == "user" and _RESULT in text else role, start, after))
        return spans

    def _check_trained(self, row: Row, spans: Sequence[Span]) -> None:
        if not row.trained:
            raise AuditRefused("nothing_trained", row.row_id, "every label is masked")
        if len(row.labels) != len(row.input_ids):
            raise AuditRefused("other_template", row.row_id, "there are more labels than tokens, or fewer")
        covered = sum(row.labels[place] != MASKED for span in spans for place in range(span.start, span.end))
        if covered != row.trained:
            raise AuditRefused("input_trained", row.row_id, "tokens before the first turn are trained")
        places = {span: [p for p in range(span.start, span.end) if row.labels[p] != MASKED] for span in spans}
        for span, trained in places.items():
            others = span.role != "assistant" or _RESULT in self._decode([row.input_ids[p] for p in trained])
            if trained and others:
                raise AuditRefused("input_trained", row.row_id, f"{len(trained)} tokens of a {span.role} turn")
        for trained in places.values():
            if trained and row.input_ids[trained[-1]] != self._close[0]:
                raise AuditRefused("turn_cut", row.row_id, "a trained turn ends without its end mark")

    def _check_answers(self, row: Row, source: Trajectory) -> None:
        """Each trained run of tokens against its message, and all before it against the served prompt."""
        runs = _trained_runs(row.labels)
        indices = {call.call_id: call.index for call in source.calls}
        if len(runs) != len(row.call_ids):
            raise AuditRefused("turn_cut", row.row_id, f"{len(runs)} trained turns for {len(row.call_ids)} calls")
        for (start, end), call_id in zip(runs, row.call_ids, strict=True):
            message = source.messages[indices[call_id]]
            written = self._decode(row.input_ids[start:end])
            if lost := lost_words(message, written):
                raise AuditRefused("answer_lost", row.row_id, f"the answer lacks {lost[:60]!r}")
            served = self._served(source, indices[call_id])
            # A later part of a long trajectory begins in the middle: it is the end of the served prompt.
            expected = served if row.opening else served[max(0, len(served) - start) :]
            if row.input_ids[:start] != expected:
                raise AuditRefused("other_template", row.row_id, f"the prompt of call {call_id} is another when served")
            body = token_ids([Segment(render_action(message, source.tools) + TURN_END)], self._tokenise)
            if row.input_ids[start:end] != body:
                raise AuditRefused("other_template", row.row_id, f"the answer of call {call_id} is another when served")

    def _served(self, source: Trajectory, index: int) -> list[int]:
        return token_ids(prompt_segments(source.messages[:index], source.tools, self._spec), self._tokenise)


def _trained_runs(labels: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for place, label in enumerate(labels):
        if label == MASKED:
            continue
        if runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return runs


def _check_complete(rows: Sequence[Row], trajectories: Sequence[Trajectory], left_out: int) -> None:
    trained = Counter(call_id for row in rows for call_id in row.call_ids)
    wanted = {call.call_id for item in trajectories for call in item.trainable}
    if repeated := [call_id for call_id, times in trained.items() if times > 1]:
        raise AuditRefused("other_template", "-", f"call {repeated[0]} is trained more than once")
    if len(missing := sorted(wanted - set(trained))) != left_out:
        raise AuditRefused(
            "turn_cut", "-", f"{len(missing)} answers are in no row, {left_out} are known to be too long"
        )


def _check_schemas(item: Trajectory) -> None:
    for tool in item.tools:
        if path := _null_path(tool):
            raise AuditRefused("null_in_schema", item.trajectory_id, f"the tool schema has a null at {path}")


def _null_path(value: Any, path: str = "") -> str:
    """Where a null stands that JSON schema has no use for; enum, const, default and examples may hold one."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("enum", "const", "default", "examples"):
                continue
            if item is None:
                return f"{path}/{key}"
            if found := _null_path(item, f"{path}/{key}"):
                return found
    if isinstance(value, list):
        return next((found for place, item in enumerate(value) if (found := _null_path(item, f"{path}/{place}"))), "")
    return ""


def lost_words(message: Message, written: str) -> str:
    """A text or an argument of the message whose words are not in what is trained; empty when all are there."""
    words = " ".join(re.findall(r"\w+", written))
    for text in _said(message):
        if " ".join(re.findall(r"\w+", text)) not in words:
            return text
    return ""


def _said(message: Message) -> list[str]:
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    said = [part.get("text", "") if isinstance(part, dict) else part for part in parts if part]
    for call in message.get("tool_calls") or []:
        function = call.get("function") or {}
        said.append(str(function.get("name", "")))
        given = function.get("arguments") or {}
        try:
            said += _strings(json.loads(given) if isinstance(given, str) else given)
        except ValueError:
            said.append(given)
    return said


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in [str(key), *_strings(item)]]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [json.dumps(value, ensure_ascii=False).strip('"')]
