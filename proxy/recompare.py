"""Comparing stored pairs anew, after the rules or a tool policy have changed.

Both answers are in the store, so nobody is asked again. Where the rules now say something else they speak again, as a
verdict of their own; what a judge or a person has said is heard as before (`verdicts`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..traffic.canonical import loads
from ..traffic.compare import compare
from ..traffic.conversations import requests_of
from ..traffic.store import Store
from ..traffic.tool_policy import ToolPolicy
from .referee import Decides
from .verdicts import ACCEPT, REJECT, RULES, PairKey, Said, say

BATCH = 256
"""Pairs whose requests are in memory at a time."""


@dataclass(frozen=True)
class Recompared:
    """What comparing anew has done."""

    pairs: int
    """Compared."""
    changed: int
    """Of these, pairs of which the rules now say something else."""


def recompare(
    store: Store,
    pattern_id: str,
    policy: ToolPolicy,
    at: float,
    who: str,
    batch: int = BATCH,
    texts: Decides | None = None,
) -> Recompared:
    """Compare all pairs of a pattern that have both answers, under the rules, the policy and the users' functions of
    today.

    at: Unix seconds; who: the person that asked for it; texts: decides where the rules are unsure.
    """
    pairs = changed = 0
    for rows in _batches(store, pattern_id, batch):
        requests = requests_of(store, [row["call_id"] for row in rows])
        for row in rows:
            pairs += 1
            said = _said(row, requests.get(row["call_id"]) or {}, policy, at, who, texts)
            if (said.loss, said.reason) != (row["ruled_loss"], row["ruled_reason"]):
                say(store, said)
                changed += 1
    return Recompared(pairs, changed)


def _batches(store: Store, pattern_id: str, size: int) -> Iterator[list[dict[str, Any]]]:
    sql = """
        SELECT call_id, student, kind, trajectory_id, teacher, student_answer, ruled_loss, ruled_reason FROM comparisons
        WHERE pattern_id = $pattern AND teacher <> '' AND student_answer <> ''
            AND (call_id, student, kind) > (CAST($call AS UUID), $student, $kind)
        ORDER BY call_id, student, kind LIMIT $limit
    """
    last: dict[str, Any] = {"call": "00000000-0000-0000-0000-000000000000", "student": "", "kind": ""}
    while rows := store.query(sql, last | {"pattern": pattern_id, "limit": size}):
        yield rows
        last = {"call": rows[-1]["call_id"], "student": rows[-1]["student"], "kind": rows[-1]["kind"]}


def _said(
    row: Mapping[str, Any],
    request: Mapping[str, Any],
    policy: ToolPolicy,
    at: float,
    who: str,
    texts: Decides | None,
) -> Said:
    theirs, ours = loads(row["teacher"]), loads(row["student_answer"])
    found = compare(theirs, ours, request.get("tools"), policy)
    ruling = texts.decide(request, row["trajectory_id"], theirs, ours) if texts and found.unsure else None
    if ruling:
        found = found._replace(loss=ruling.loss(found.loss), reason=ruling.reason)
    return Said(
        PairKey(row["call_id"], row["student"], row["kind"]),
        RULES,
        f"comparator {found.comparator}, asked by {who}",
        ACCEPT if found.loss == 0 else REJECT,
        at,
        found.reason,
        found.loss,
        found.comparator,
        found.policy,
    )
