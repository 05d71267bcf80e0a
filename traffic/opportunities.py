"""What teaching a pattern would save: its volume and price, times how much of it is predictable.

Predictable is measured, not guessed, and without any model. The runs of an agent are cut in two by time. On the older
half a table is learned: which typed action comes most often after which, per pattern; which values an argument takes;
which texts were said. A call of the newer half is predicted when

    it calls tools   the typed action is the one that the table gives, and every value in its arguments stands in the
                     request (as a whole word) or was seen for that argument in the older half
    it is a text     word for word the same text was said in the older half

and the repetitiveness r of a pattern is predicted calls / calls of the newer half, with its Wilson interval. It is a
floor: a student that reads does better than a table, above all on free text. What is saved is r times what the teacher
is paid; the order is that of the interval's lower end, so that few calls cannot come first by luck.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .actions import text_of
from .answers import dump
from .conversations import requests_of
from .patterns import PatternEntry
from .rollup import hours_since
from .shares import Share, share_of
from .step_graph import START, Cost
from .steps import Run, Step, leaves_of, runs_of
from .store import Store

DAY_S = 86_400.0
MONTH_DAYS = 30.0
RUNS = 400
"""Newest runs per agent that are looked at."""
TESTED = 200
"""Newest calls per pattern that are predicted: each needs its whole request."""


@dataclass(frozen=True)
class Saving:
    """What would be saved in thirty days at the present rate, before audits; from the share and its interval."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True)
class Opportunity:
    """One pattern, and what teaching it would save."""

    pattern_id: str
    agent_id: str
    name: str
    version: int
    role: str
    calls: int
    """Calls that the teacher answered in the time looked at."""
    days: float
    """Length of that time; at least 1."""
    prompt_tokens: int
    completion_tokens: int
    dollars: float | None
    """Paid for them; None: a price or a token count is unknown."""
    top_action: str
    """The most frequent typed action; empty when nothing could be looked at."""
    repetitive: Share
    tokens_saved: Saving
    """Prompt and completion tokens a month."""
    dollars_saved: Saving | None


def opportunities(
    store: Store, entries: Iterable[PatternEntry], cost: Cost, since: float, now: float
) -> list[Opportunity]:
    """All patterns of `entries` that the teacher answered since a moment (Unix seconds), the most worthwhile first.

    By dollars where all prices are known; otherwise by tokens, for an unknown price is not a low one. Where that is
    equal, as without any counted tokens, by calls.
    """
    agents: dict[str, list[PatternEntry]] = {}
    for entry in entries:
        agents.setdefault(entry.agent_id, []).append(entry)
    volumes = _volumes(store, cost, since)
    found: list[Opportunity] = []
    for members in agents.values():
        busy = [entry for entry in members if entry.pattern_id in volumes]
        if busy:
            runs = runs_of(store, [entry.pattern_id for entry in members], RUNS, since)
            shares = repetitiveness(store, runs)
            found += [_one(entry, volumes[entry.pattern_id], shares, runs, since, now) for entry in busy]
    priced = all(one.dollars_saved for one in found)
    return sorted(found, key=lambda one: (-_worth(one, priced), -one.repetitive.low * one.calls, one.pattern_id))


def _worth(one: Opportunity, priced: bool) -> float:
    return one.dollars_saved.low if priced and one.dollars_saved else one.tokens_saved.low


@dataclass
class _Volume:
    calls: int = 0
    prompt: int = 0
    completion: int = 0
    dollars: float | None = 0.0
    first_at: float = float("inf")


_VOLUMES = """
SELECT pattern_id, model, sum(calls)::BIGINT AS calls, sum(prompt_tokens)::BIGINT AS prompt,
       sum(completion_tokens)::BIGINT AS completion,
       coalesce(sum(attempts - metered) FILTER (status = 200), 0)::BIGINT AS unmetered, min(first_at) AS first_at
FROM {hours} WHERE route = 'teacher' AND pattern_id <> '' GROUP BY ALL
"""


def _volumes(store: Store, cost: Cost, since: float) -> dict[str, _Volume]:
    """What the teacher answered, by pattern."""
    volumes: dict[str, _Volume] = {}
    for row in store.query(_VOLUMES.format(hours=hours_since(since))):
        volume = volumes.setdefault(row["pattern_id"], _Volume())
        volume.calls += row["calls"]
        volume.prompt += row["prompt"]
        volume.completion += row["completion"]
        volume.first_at = min(volume.first_at, row["first_at"])
        spent = row["prompt"] or row["completion"]
        paid = None if row["unmetered"] else cost(row["model"], row["prompt"], row["completion"]) if spent else 0.0
        volume.dollars = None if volume.dollars is None or paid is None else volume.dollars + paid
    return volumes


def _one(
    entry: PatternEntry, volume: _Volume, shares: Mapping[str, Share], runs: Sequence[Run], since: float, now: float
) -> Opportunity:
    days = max(1.0, (now - max(since, volume.first_at)) / DAY_S)
    share = shares.get(entry.pattern_id) or share_of(0, 0)
    labels = Counter(step.label for run in runs for step in run.steps if step.pattern_id == entry.pattern_id)
    return Opportunity(
        pattern_id=entry.pattern_id,
        agent_id=entry.agent_id,
        name=entry.name,
        version=entry.version,
        role=entry.role,
        calls=volume.calls,
        days=days,
        prompt_tokens=volume.prompt,
        completion_tokens=volume.completion,
        dollars=volume.dollars,
        top_action=min(labels, key=lambda label: (-labels[label], label), default=""),
        repetitive=share,
        tokens_saved=_saving((volume.prompt + volume.completion) * MONTH_DAYS / days, share),
        dollars_saved=None if volume.dollars is None else _saving(volume.dollars * MONTH_DAYS / days, share),
    )


def _saving(monthly: float, share: Share) -> Saving:
    return Saving(monthly * (share.share or 0.0), monthly * share.low, monthly * share.high)


@dataclass
class _Table:
    """What the older runs teach."""

    actions: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    """Typed actions by (pattern, previous typed action)."""
    values: set[tuple[str, str, Any]] = field(default_factory=set)
    """(tool, path, value)."""
    exact: set[tuple[str, str]] = field(default_factory=set)
    """(pattern, whole action)."""

    def learn(self, step: Step, before: str) -> None:
        self.actions.setdefault((step.pattern_id, before), Counter())[step.label] += 1
        self.values.update((tool, path, str(value)) for tool, path, value in leaves_of(step.action))
        self.exact.add((step.pattern_id, step.exact))

    def expects(self, step: Step, before: str) -> bool:
        """Whether the typed action is the one that came most often here; ties go by the name."""
        seen = self.actions.get((step.pattern_id, before))
        return bool(seen) and min(seen, key=lambda label: (-seen[label], label)) == step.label

    def predicts(self, step: Step, request: Mapping[str, Any]) -> bool:
        """Whether the content of an expected action could be had without a model."""
        if step.action.kind != "tools":
            return step.action.kind != "invalid" and (step.pattern_id, step.exact) in self.exact
        if any(call.arguments is None for call in step.action.calls):
            return False
        text = _said(request.get("messages") or ())
        return all(
            (tool, path, str(value)) in self.values or _stands_in(value, text)
            for tool, path, value in leaves_of(step.action)
        )


def repetitiveness(store: Store, runs: Sequence[Run]) -> dict[str, Share]:
    """By pattern, the share of the newer half's calls that the older half predicts. `runs` are the oldest first."""
    older, newer = runs[: len(runs) // 2], runs[len(runs) // 2 :]
    table = _Table()
    for run in older:
        for before, step in _pairs(run):
            table.learn(step, before)
    tested: dict[str, list[tuple[str, Step]]] = {}
    for run in newer if older else ():
        for before, step in _pairs(run):
            tested.setdefault(step.pattern_id, []).append((before, step))
    return {pattern: _measured(store, table, pairs[-TESTED:]) for pattern, pairs in tested.items()}


def _pairs(run: Run) -> list[tuple[str, Step]]:
    """Each step that the teacher took, with the typed action before it."""
    labels = [START, *(step.label for step in run.steps)]
    return [(before, step) for before, step in zip(labels, run.steps, strict=False) if step.route == "teacher"]


def _measured(store: Store, table: _Table, pairs: Sequence[tuple[str, Step]]) -> Share:
    expected = [step for before, step in pairs if table.expects(step, before)]
    requests = requests_of(store, [step.call_id for step in expected])
    return share_of(sum(table.predicts(step, requests.get(step.call_id, {})) for step in expected), len(pairs))


def _said(messages: Collection[Mapping[str, Any]]) -> str:
    """All texts of a request, and the arguments of its earlier tool calls."""
    texts = []
    for message in messages:
        texts.append(text_of(message.get("content")))
        if message.get("tool_calls"):
            texts.append(dump(message["tool_calls"]))
    return "\n".join(texts)


def _stands_in(value: Any, text: str) -> bool:
    """Whether a text or number stands in a request as a whole word. Booleans and nulls are decisions, not copies."""
    if value is None or isinstance(value, bool):
        return False
    wanted = str(value).strip()
    return bool(wanted) and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text) is not None
