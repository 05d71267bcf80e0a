"""Pairs: one call, the teacher's and the student's action side by side, every verdict, and a person's word on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from ..traffic.answers import dump
from .figures import millis, moment, short
from .pairs import FILTERS, Pair, list_pairs, show_pair
from .verdicts import read_key
from .views import Site
from .views_messages import MessageView, message_view
from .views_queries import newer_pair

PAGE = 50


@dataclass(frozen=True)
class PairLine:
    """One row of the list."""

    href: str
    at: str
    pattern: str
    kind: str
    student: str
    verdict: str
    tone: str
    """`good`: counts as agreement; `bad`: as a loss; `warn`: somebody has yet to decide."""
    reason: str
    decided_by: str
    teacher: str
    student_action: str


@dataclass(frozen=True)
class Option:
    """One choice of a filter."""

    value: str
    label: str
    chosen: bool


@dataclass(frozen=True)
class PairsPage:
    """The list."""

    filters: tuple[Option, ...]
    patterns: tuple[Option, ...]
    rows: tuple[PairLine, ...]
    older: str
    """Address of the next page; empty on the last one."""
    query: str


@dataclass(frozen=True)
class DiffView:
    """One line of the comparison."""

    name: str
    compared_as: str
    teacher: str
    student: str
    tone: str
    """`same`, `differs` or `ignored`."""
    why: str


@dataclass(frozen=True)
class VerdictView:
    """One word on the pair."""

    at: str
    who: str
    source: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class PairPage:
    """One pair."""

    pair_id: str
    pattern_id: str
    pattern: str
    trajectory_href: str
    kind_text: str
    student: str
    at: str
    loss: str
    tone: str
    reason: str
    decided_by: str
    waits: bool
    input: tuple[MessageView, ...]
    hidden: int
    """Messages of the input before those shown open."""
    tools: str
    teacher: MessageView
    student_answer: MessageView
    teacher_note: str
    student_note: str
    diff: tuple[DiffView, ...]
    verdicts: tuple[VerdictView, ...]
    policy_note: str
    newer: str
    """Address of the next pair towards the present; empty without one."""
    older: str
    back: str


def pairs_page(site: Site, pattern: str = "", only: str = "all", before: str = "", limit: int = PAGE) -> PairsPage:
    """A page of the list. Raises BadInput and UnknownName."""
    found = pair_rows(site, pattern, only, before, limit + 1)
    rows, names = found[:limit], site.names()
    query = {"pattern": pattern, "only": only}
    more = urlencode({**query, "before": rows[-1].pair_id}) if len(found) > limit else ""
    texts = {"all": "all", "disagree": "student worse", "unsure": "rules unsure", "judged": "decided by a judge"}
    texts |= {"human": "decided by people", "waiting": "waiting for a verdict"}
    return PairsPage(
        filters=tuple(Option(name, texts.get(name, name), name == only) for name in FILTERS),
        patterns=(
            Option("", "all patterns", not pattern),
            *(Option(one, names[one], one == pattern) for one in site.board.patterns() if one in names),
        ),
        rows=tuple(_line(row, names, query) for row in rows),
        older=f"/pairs?{more}" if more else "",
        query=urlencode({**query, "before": before}),
    )


def pair_rows(site: Site, pattern: str = "", only: str = "all", before: str = "", limit: int = PAGE) -> list[Pair]:
    """A stretch of pairs, newest first. Raises BadInput and UnknownName."""
    return list_pairs(site.store, pattern, only, before, limit)


def pair_page(site: Site, pair_id: str, pattern: str = "", only: str = "all") -> PairPage:
    """One pair within the list that it was reached from. Raises UnknownName."""
    key = read_key(pair_id)
    found = site.store.value(
        "SELECT pattern_id FROM comparisons WHERE call_id = CAST($call_id AS UUID) AND student = $student "
        "AND kind = $kind",
        key._asdict(),
    )
    shown = show_pair(site.store, pair_id, site.policies.policy(found or ""))
    query = {"pattern": pattern, "only": only}
    newer, older = neighbours(site, pair_id, pattern, only)
    messages = [message_view(message) for message in (shown["input"] or {}).get("messages") or []]
    return PairPage(
        pair_id=pair_id,
        pattern_id=shown["pattern_id"],
        pattern=site.names().get(shown["pattern_id"]) or shown["pattern_id"],
        trajectory_href=f"/trajectories/{quote(shown['trajectory_id'] or '', safe='')}",
        kind_text="the teacher served" if shown["kind"] == "shadow" else "the student served",
        student=shown["student"],
        at=moment(shown["at"]),
        loss=f"{shown['loss']:g}",
        tone=_tone(shown["loss"], shown["waits"]),
        reason=_reason(shown["reason"]),
        decided_by=_decider(shown["decided_by"]),
        waits=shown["waits"],
        input=tuple(messages),
        hidden=max(len(messages) - 3, 0),
        tools=", ".join(_tool_names(shown["input"] or {})),
        teacher=message_view(shown["teacher_message"] or {"role": "assistant"}),
        student_answer=message_view(shown["student_message"] or {"role": "assistant"}),
        teacher_note=_tokens(shown["teacher_prompt_tokens"], shown["teacher_completion_tokens"]),
        student_note=f"{_tokens(shown['student_prompt_tokens'], shown['student_completion_tokens'])} · "
        f"{millis(shown['student_ms'])}",
        diff=tuple(_diff(line) for line in shown["diff"]),
        verdicts=tuple(_verdict(one) for one in shown["verdicts"]),
        policy_note=_policy_note(shown),
        newer=f"/pairs/{quote(newer, safe='')}?{urlencode(query)}" if newer else "",
        older=f"/pairs/{quote(older, safe='')}?{urlencode(query)}" if older else "",
        back=f"/pairs?{urlencode(query)}",
    )


def _line(row: Pair, names: Mapping[str, str], query: Mapping[str, str]) -> PairLine:
    return PairLine(
        href=f"/pairs/{quote(row.pair_id, safe='')}?{urlencode(query)}",
        at=moment(row.at),
        pattern=names.get(row.pattern_id, row.pattern_id),
        kind=row.kind,
        student=row.student,
        verdict="waiting" if row.waits else "same" if row.loss == 0 else f"loss {row.loss:g}",
        tone=_tone(row.loss, row.waits),
        reason=_reason(row.reason),
        decided_by=_decider(row.decided_by),
        teacher=short(row.teacher) or "no answer",
        student_action=short(row.student_action) or "no answer",
    )


def _tone(loss: float, waits: bool) -> str:
    return "warn" if waits else "good" if loss == 0 else "bad"


def _reason(reason: str) -> str:
    kind, mark, place = reason.partition(":")
    return kind.replace("_", " ") + (f": {place}" if mark else "")


def _decider(source: str) -> str:
    return {"rules": "the rules", "judge": "a judge", "human": "a person"}.get(source, source)


def _tool_names(request: Mapping[str, Any]) -> list[str]:
    tools = request.get("tools")
    found = [tool.get("function", tool) for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return [str(one.get("name", "")) for one in found if isinstance(one, dict)]


def _tokens(prompt: int | None, completion: int | None) -> str:
    return "tokens unknown" if prompt is None or completion is None else f"{prompt:,} in · {completion:,} out"


def _diff(line: Mapping[str, Any]) -> DiffView:
    name = ".".join(part for part in (line["tool"], line["path"]) if part) or "text"
    tone = "ignored" if line["compared_as"] == "ignored" else "differs" if line["why"] else "same"
    sides = ["" if line["given_by"] not in ("both", side) else _value(line[side]) for side in ("teacher", "student")]
    return DiffView(name, line["compared_as"], sides[0], sides[1], tone, _why(line))


def _why(line: Mapping[str, Any]) -> str:
    if not line["why"]:
        return ""
    return "another value" if line["why"] == "value" else _reason(line["why"])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else dump(value)


def _verdict(one: Mapping[str, Any]) -> VerdictView:
    return VerdictView(moment(one["at"]), str(one["who"]), str(one["source"]), str(one["verdict"]), str(one["reason"]))


def _policy_note(shown: Mapping[str, Any]) -> str:
    if shown["policy"] == shown["policy_now"] and shown["comparator"] == shown["comparator_now"]:
        return ""
    return "The rules or the tools' policy have changed since this pair was compared; the lines above are of today."


def neighbours(site: Site, pair_id: str, pattern: str, only: str) -> tuple[str, str]:
    """The pairs before and after one in a list, newest first: (newer, older); empty at an end."""
    older = list_pairs(site.store, pattern, only, pair_id, 1)
    return newer_pair(site.store, pair_id, pattern, only), older[0].pair_id if older else ""
