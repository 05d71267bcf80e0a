"""Verdicts on pairs: everything that anybody has said about whether a student's answer is acceptable.

A pair is a comparison. The rules speak first, when it is made; where they are unsure a judge may decide; a person
beats both. Each word is a row of `verdicts` and is never changed or removed. What counts is worked out from them and
written to the comparison in the same transaction, so evidence is read in one place and follows late words too.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from ..traffic.compare import is_unsure
from ..traffic.errors import BadInput, UnknownName
from ..traffic.rollup import touch
from ..traffic.store import Params, Store

HUMAN, JUDGE, RULES, ANCHOR = "human", "judge", "rules", "anchor"
"""Who speaks. `anchor`: a judge on a pair that a person has decided, to measure the judge; it counts for nothing."""
ACCEPT, REJECT, WITHDRAW, TORN, FAILED = "accept", "reject", "withdraw", "torn", "failed"
"""`withdraw`: a person takes their word back. `torn`: a judge said both. `failed`: it said nothing of use."""


class PairKey(NamedTuple):
    """What identifies a pair."""

    call_id: str
    student: str
    kind: str
    """`shadow` or `audit`."""

    @property
    def text(self) -> str:
        """As it stands in addresses: `CALL:KIND:STUDENT`."""
        return f"{self.call_id}:{self.kind}:{self.student}"


def read_key(text: str) -> PairKey:
    """The key in a pair's id. Raises UnknownName."""
    call_id, _, rest = text.partition(":")
    kind, _, student = rest.partition(":")
    try:
        return PairKey(str(UUID(call_id)), student, kind)
    except ValueError:
        raise UnknownName(f"There is no pair {text!r}. List them with: tutelage pairs list") from None


@dataclass(frozen=True)
class Said:
    """One verdict."""

    key: PairKey
    source: str
    """`human`, `judge`, `rules` or `anchor`."""
    who: str
    """The person; the judge's version; the comparator's version."""
    verdict: str
    """`accept`, `reject`, `withdraw`, `torn`, `failed`; for rules `accept` at loss 0, else `reject`."""
    at: float
    reason: str = ""
    """The person's note, what the judge answered, the rules' reason."""
    loss: float | None = None
    """Rules only."""
    comparator: int | None = None
    policy: str | None = None
    asked: int = 0
    """Questions that were asked for it."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    usd: float | None = None
    """None: nothing was asked, or the price is unknown."""


_THIS = "call_id = CAST($call_id AS UUID) AND student = $student AND kind = $kind"
_INSERT = f"""
INSERT INTO verdicts SELECT (SELECT coalesce(max(seq), 0) + 1 FROM verdicts), $at, call_id, student, kind, pattern_id,
    $source, $who, $verdict, $loss, $reason, $comparator, $policy, $asked, $prompt_tokens, $completion_tokens, $usd
FROM comparisons WHERE {_THIS}
"""


# What the rules said when the pair was made stands in the comparison alone, until they speak again.
_KEEP_FIRST = f"""
INSERT INTO verdicts BY NAME SELECT (SELECT coalesce(max(seq), 0) + 1 FROM verdicts) AS seq, comparisons."at" AS "at",
    call_id, student, kind, pattern_id, '{RULES}' AS source, 'comparator ' || comparator AS who,
    CASE WHEN ruled_loss = 0 THEN '{ACCEPT}' ELSE '{REJECT}' END AS verdict, ruled_loss AS loss, ruled_reason AS reason,
    comparator, policy, 0 AS asked
FROM comparisons WHERE {_THIS}
    AND NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.source = '{RULES}' AND v.call_id = comparisons.call_id
        AND v.student = comparisons.student AND v.kind = comparisons.kind)
"""


def say(store: Store, said: Said) -> None:
    """Keep one verdict and let the comparison follow. Raises UnknownName for a pair that is not in the store."""
    key = said.key._asdict()
    values = {name: value for name, value in vars(said).items() if name != "key"}
    with store.transaction():
        if said.source == RULES:
            store.execute(_KEEP_FIRST, key)
        if not store.execute(_INSERT, key | values):
            raise UnknownName(f"There is no pair {said.key.text!r}. List them with: tutelage pairs list")
        if said.source == RULES:
            sql = "UPDATE comparisons SET ruled_loss = $loss, ruled_reason = $reason, comparator = $comparator,"
            values = {"loss": said.loss, "reason": said.reason, "comparator": said.comparator, "policy": said.policy}
            store.execute(f"{sql} policy = $policy WHERE {_THIS}", key | values)
        if said.source != ANCHOR:
            _settle(store, said.key, said.at)
            touch(store, _runs(store, _THIS, key))


def person_says(store: Store, key: PairKey, verdict: str, who: str, note: str, at: float) -> None:
    """A person's verdict: `accept`, `reject`, or `withdraw` of what a person said before. Raises BadInput."""
    if verdict not in (ACCEPT, REJECT, WITHDRAW):
        raise BadInput(f"A verdict is accept, reject or withdraw, not {verdict!r}.")
    if not who.strip():
        raise BadInput("Say who decides: 'who' is empty.")
    say(store, Said(key, HUMAN, who.strip(), verdict, at, note))


def verdicts_of(store: Store, key: PairKey) -> list[dict[str, Any]]:
    """Everything said about a pair after the rules' first word, oldest first."""
    sql = f"""
        SELECT seq, verdicts."at", source, who, verdict, loss, reason, comparator, policy, asked, prompt_tokens,
            completion_tokens, usd
        FROM verdicts WHERE {_THIS} ORDER BY verdicts."at", seq
    """
    return store.query(sql, key._asdict())


def release(store: Store, before: float) -> int:
    """Let pairs that were made before a moment wait for no judge any more; returns how many there were."""
    where = 'waits AND comparisons."at" < ?'
    runs = _runs(store, where, (before,))
    released = store.execute(f"UPDATE comparisons SET waits = FALSE WHERE {where}", (before,)) if runs else 0
    touch(store, runs)
    return released


def _runs(store: Store, where: str, values: Params) -> list[str]:
    """The runs of some pairs: what is remembered of them no longer holds once one of their labels changes."""
    return [run for (run,) in store.rows(f"SELECT DISTINCT trajectory_id FROM comparisons WHERE {where}", values)]


def _settle(store: Store, key: PairKey, at: float) -> None:
    """Write to the comparison what counts now."""
    [(ruled_loss, ruled_reason)] = store.rows(
        f"SELECT ruled_loss, ruled_reason FROM comparisons WHERE {_THIS}", key._asdict()
    )
    now = _counting(store, key, ruled_loss, ruled_reason)
    sql = f"""
        UPDATE comparisons SET loss = $loss, reason = $reason, decided_by = $by, waits = FALSE,
            changed_at = CASE WHEN loss <> $loss THEN $at ELSE changed_at END
        WHERE {_THIS}
    """
    store.execute(sql, key._asdict() | {"loss": now[0], "reason": now[1], "by": now[2], "at": at})


def _counting(store: Store, key: PairKey, ruled_loss: float, ruled_reason: str) -> tuple[float, str, str]:
    """Loss, reason and whose word it is."""
    sql = f"""
        SELECT source, arg_max(verdict, seq) FROM verdicts
        WHERE {_THIS} AND (source = '{HUMAN}' OR source = '{JUDGE}' AND verdict IN ('{ACCEPT}', '{REJECT}'))
        GROUP BY source
    """
    last = dict(store.rows(sql, key._asdict()))
    if (word := last.get(HUMAN)) in (ACCEPT, REJECT):
        return float(word == REJECT), f"human:{word}", HUMAN
    if (word := last.get(JUDGE)) and is_unsure(ruled_reason):
        # A judge cannot make it worse than the rules: what reads only is lost by half.
        return (0.0 if word == ACCEPT else ruled_loss), f"judge:{word}", JUDGE
    return ruled_loss, ruled_reason, RULES
