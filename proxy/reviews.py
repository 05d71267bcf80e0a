"""Reviews: pairs that the judge has let pass and that people are asked to look at, and the two tests made from them.

Sessions are drawn by a salted hash, before and whatever the judge says. In a drawn session every pair that the judge
accepted needs a person's verdict; until the oldest such session is complete, later ones do not count, or people could
choose the sample by what they feel like looking at.
"""

from dataclasses import dataclass

from ..traffic.compare import UNSURE
from ..traffic.store import Store
from .draws import Draw
from .judged import JudgedGate
from .pairs import Pair, select

_WORDS = """
SELECT call_id, student, kind,
    arg_max(verdict, seq) FILTER (source = 'judge' AND verdict IN ('accept', 'reject')) AS judge,
    arg_max(verdict, seq) FILTER (source = 'human') AS person
FROM verdicts WHERE source IN ('judge', 'human') GROUP BY ALL
"""
_PASSED = f"(x.ruled_reason = '{UNSURE}' OR x.ruled_reason LIKE '{UNSURE}:%') AND w.judge = 'accept'"
_SESSIONS = f"""
WITH words AS ({_WORDS})
SELECT x.trajectory_id, {{drawn}} AS drawn, avg(CASE WHEN {_PASSED} THEN 0 ELSE x.ruled_loss END) AS flagged,
    count(*) FILTER ({_PASSED} AND coalesce(w.person, 'withdraw') = 'withdraw') AS open,
    count(*) FILTER ({_PASSED} AND w.person = 'reject') / count(*) AS missed
FROM comparisons x LEFT JOIN words w USING (call_id, student, kind)
WHERE x.pattern_id = ? AND x.student = ? AND x.kind = ?
GROUP BY ALL ORDER BY max(x."at"), x.trajectory_id
"""


@dataclass(frozen=True)
class JudgedSession:
    """One session as the rules and the judge see it, and as people do."""

    trajectory_id: str
    flagged: float
    """Mean loss by the rules and the judge alone, in [0, 1]."""
    drawn: bool
    """It is to be reviewed."""
    open: int
    """Pairs of it that the judge accepted and nobody has looked at."""
    missed: float
    """Share of its pairs that the judge accepted and a person rejected."""


def to_review(store: Store, draw: Draw, pattern_id: str = "", limit: int = 50) -> list[Pair]:
    """Pairs that people are asked to look at, newest first."""
    where = "($pattern = '' OR pattern_id = $pattern) AND reason = 'judge:accept' AND decided_by = 'judge'"
    values = {"pattern": pattern_id, "limit": limit}
    return select(store, f"{where} AND {draw.sql('trajectory_id')}", values)


def judged_sessions(store: Store, draw: Draw, pattern_id: str, student: str, kind: str) -> list[JudgedSession]:
    """The sessions of a student version on a pattern, in the order in which their last pair was made."""
    rows = store.query(_SESSIONS.format(drawn=draw.sql("x.trajectory_id")), (pattern_id, student, kind))
    return [JudgedSession(**row) for row in rows]


def judged_versions(store: Store) -> list[tuple[str, str]]:
    """Patterns and student versions with a pair that a judge has accepted."""
    sql = "SELECT DISTINCT pattern_id, student FROM verdicts WHERE source = 'judge' AND verdict = 'accept' ORDER BY ALL"
    return [(pattern, student) for pattern, student in store.rows(sql)]


def judged_gate(sessions: list[JudgedSession], epsilon: float, alpha: float) -> JudgedGate:
    """Both tests after these sessions. epsilon: risk limit, alpha: of this trial."""
    gate, held = JudgedGate.begin(epsilon, alpha), False
    for session in sessions:
        gate = gate.judge(session.flagged)
        if session.drawn:
            held = held or session.open > 0
            gate = gate if held else gate.review(session.missed)
    return gate
