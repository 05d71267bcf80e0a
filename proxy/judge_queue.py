"""The judge's queue and budget, read from the store: what is to be judged, what has been spent, how good the judge is.

The queue is a question to the store, not a list of its own: pairs on which the rules were unsure, nobody has decided,
and this version of the judge has not spoken. So a restart loses and repeats nothing but what was in flight, and a judge
that is configured later finds the pairs of before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..traffic.canonical import loads
from ..traffic.compare import UNSURE
from ..traffic.conversations import requests_of
from ..traffic.store import Store
from .gate import confidence_sequence
from .options import JudgeOptions
from .verdicts import ACCEPT, ANCHOR, JUDGE, REJECT, PairKey

DAY_S = 86_400.0

_UNSURE = (
    f"(x.ruled_reason = '{UNSURE}' OR x.ruled_reason LIKE '{UNSURE}:%') AND x.teacher <> '' AND x.student_answer <> ''"
)
_SPOKEN = """
EXISTS (SELECT 1 FROM verdicts v WHERE v.call_id = x.call_id AND v.student = x.student AND v.kind = x.kind
    AND v.who = $judge AND list_contains($sources, v.source))
"""
_PAIRS = f"""
SELECT x.call_id, x.student, x.kind, x.teacher, x.student_answer FROM comparisons x
WHERE {_UNSURE} AND x.decided_by = $decided AND x."at" >= $since AND NOT {_SPOKEN}
ORDER BY x.waits DESC, x."at" {{order}}, x.call_id LIMIT $limit
"""
_SCORES = f"""
SELECT v.who, h.verdict AS human, v.verdict AS judge, count(*) AS n
FROM (
    SELECT call_id, student, kind, arg_max(verdict, seq) AS verdict FROM verdicts WHERE source = 'human' GROUP BY ALL
) h JOIN (
    SELECT call_id, student, kind, who, arg_max(verdict, seq) AS verdict FROM verdicts
    WHERE source IN ('{JUDGE}', '{ANCHOR}') GROUP BY ALL
) v USING (call_id, student, kind)
WHERE h.verdict IN ('{ACCEPT}', '{REJECT}') GROUP BY ALL
"""


@dataclass(frozen=True)
class Case:
    """One pair to be judged."""

    key: PairKey
    source: str
    """`judge`: it counts; `anchor`: a person has decided, this measures the judge."""
    request: dict[str, Any]
    teacher: dict[str, Any]
    student: dict[str, Any]


@dataclass(frozen=True)
class Spent:
    """What judging has cost since a moment."""

    questions: int
    tokens: int
    usd: float | None
    """None: some of it has no known price."""


@dataclass(frozen=True)
class Rate:
    """Errors of one kind."""

    errors: int
    n: int
    """Pairs of that kind on which a person and the judge have both decided."""
    low: float
    high: float
    """95 % interval of the rate, valid however often one looks; [0, 1] without data."""


@dataclass(frozen=True)
class Score:
    """How one version of the judge compares with people, on the pairs that both have decided."""

    judge: str
    false_accepts: Rate
    """It accepted what a person rejected: the dangerous error."""
    false_rejects: Rate
    """It rejected what a person accepted."""
    undecided: int
    """It said both, or nothing of use."""


class JudgeQueue:
    """The queue of one version of the judge. No state of its own."""

    def __init__(self, store: Store, options: JudgeOptions, judge: str, *, priced: bool) -> None:
        """judge: its version. priced: what it costs is known."""
        self._store, self._options, self._judge, self._priced = store, options, judge, priced

    def cases(self, now: float, limit: int) -> list[Case]:
        """What to judge now: first the anchors that this version has not seen, then pairs that hold a session back,
        then the others, the oldest first."""
        found = self._pairs(ANCHOR, now, min(limit, self._options.anchors - self._anchored()))
        return found + self._pairs(JUDGE, now, limit - len(found))

    def length(self, now: float) -> int:
        """Pairs to be judged."""
        sql = f"""
            SELECT count(*) FROM comparisons x
            WHERE {_UNSURE} AND x.decided_by = 'rules' AND x."at" >= $since AND NOT {_SPOKEN}
        """
        since = now - self._options.backlog_s
        return self._store.value(sql, {"judge": self._judge, "since": since, "sources": [JUDGE]}) or 0

    def room(self, now: float) -> str:
        """Why nothing may be asked today, in words; empty when there is room."""
        spent, options = spent_since(self._store, now // DAY_S * DAY_S), self._options
        if options.questions_per_day and spent.questions + 2 > options.questions_per_day:
            return f"{spent.questions} questions of {options.questions_per_day} (questions_per_day) are spent today."
        if options.tokens_per_day and spent.tokens >= options.tokens_per_day:
            return f"{spent.tokens} tokens of {options.tokens_per_day} (tokens_per_day) are spent today."
        if options.usd_per_day and (spent.usd is None or not self._priced):
            return f"usd_per_day is set, but {options.model} has no known price. Set [prices.{options.model!r}]."
        if options.usd_per_day and (spent.usd or 0.0) >= options.usd_per_day:
            return f"{spent.usd:.2f} dollars of {options.usd_per_day:.2f} (usd_per_day) are spent today."
        return ""

    def _anchored(self) -> int:
        """Anchors that this version has been asked about."""
        sql = "SELECT count(DISTINCT (call_id, student, kind)) FROM verdicts WHERE who = ? AND source = ?"
        return self._store.value(sql, (self._judge, ANCHOR)) or 0

    def _pairs(self, source: str, now: float, limit: int) -> list[Case]:
        if limit <= 0:
            return []
        anchor = source == ANCHOR
        values = {
            "judge": self._judge,
            "limit": limit,
            # A verdict of this version from before the person spoke is a measurement as well.
            "sources": [JUDGE, ANCHOR] if anchor else [JUDGE],
            "decided": "human" if anchor else "rules",
            "since": 0.0 if anchor else now - self._options.backlog_s,
        }
        rows = self._store.query(_PAIRS.format(order="DESC" if anchor else "ASC"), values)
        requests = requests_of(self._store, [row["call_id"] for row in rows])
        return [_case(row, source, requests) for row in rows if row["call_id"] in requests]


def spent_since(store: Store, since: float) -> Spent:
    """What all judges have been asked since a moment (Unix seconds)."""
    sql = f"""
        SELECT coalesce(sum(asked), 0)::BIGINT AS asked,
            coalesce(sum(coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)), 0)::BIGINT AS tokens,
            coalesce(sum(usd), 0.0) AS usd, count_if(asked > 0 AND usd IS NULL) AS unpriced
        FROM verdicts WHERE source IN ('{JUDGE}', '{ANCHOR}') AND verdicts."at" >= ?
    """
    [row] = store.query(sql, (since,))
    return Spent(row["asked"], row["tokens"], None if row["unpriced"] else row["usd"])


def scores(store: Store) -> list[Score]:
    """Every version of the judge against people's verdicts, by name."""
    counts: dict[str, dict[tuple[str, str], int]] = {}
    for who, human, judge, n in store.rows(_SCORES):
        counts.setdefault(who, {})[human, judge] = n
    return [_score(who, counts[who]) for who in sorted(counts)]


def _score(who: str, counts: Mapping[tuple[str, str], int]) -> Score:
    def rate(human: str, wrong: str) -> Rate:
        errors, right = counts.get((human, wrong), 0), counts.get((human, human), 0)
        return Rate(errors, errors + right, *confidence_sequence(errors, right))

    undecided = sum(n for (_, judge), n in counts.items() if judge not in (ACCEPT, REJECT))
    return Score(who, rate(REJECT, ACCEPT), rate(ACCEPT, REJECT), undecided)


def _case(row: Mapping[str, Any], source: str, requests: Mapping[str, dict[str, Any]]) -> Case:
    key = PairKey(row["call_id"], row["student"], row["kind"])
    return Case(key, source, requests[row["call_id"]], loads(row["teacher"]), loads(row["student_answer"]))
