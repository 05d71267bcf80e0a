"""Reviews: pairs that the judge has let pass and that people are asked to look at, and the two tests made from them.

Sessions are drawn by a salted hash, before and whatever the judge says. In a drawn session every pair that the judge
accepted needs a person's verdict; until the oldest such session is complete, later ones do not count, or people could
choose the sample by what they feel like looking at.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ..traffic.compare import UNSURE
from ..traffic.store import Store
from .draws import Draw
from .event_log import Key
from .gate import alpha_for
from .judged import JudgedGate
from .pairs import Pair, select
from .shadow import AUDIT, SHADOW
from .states import SERVING, Judged, PatternState

_WORDS = """
SELECT call_id, student, kind,
    arg_max(verdict, seq) FILTER (source = 'judge' AND verdict IN ('accept', 'reject')) AS judge,
    arg_max(verdict, seq) FILTER (source = 'human') AS person
FROM verdicts WHERE source IN ('judge', 'human') AND student = $student AND kind = $kind GROUP BY ALL
"""
_PASSED = f"(x.ruled_reason = '{UNSURE}' OR x.ruled_reason LIKE '{UNSURE}:%') AND w.judge = 'accept'"
_SESSIONS = f"""
WITH words AS ({_WORDS})
SELECT x.trajectory_id, {{drawn}} AS drawn, avg(CASE WHEN {_PASSED} THEN 0 ELSE x.ruled_loss END) AS flagged,
    count(*) FILTER ({_PASSED} AND coalesce(w.person, 'withdraw') = 'withdraw') AS open,
    count(*) FILTER ({_PASSED} AND w.person = 'reject') / count(*) AS missed
FROM comparisons x LEFT JOIN words w USING (call_id, student, kind)
WHERE x.pattern_id = $pattern AND x.student = $student AND x.kind = $kind
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
    values = {"pattern": pattern_id, "student": student, "kind": kind}
    rows = store.query(_SESSIONS.format(drawn=draw.sql("x.trajectory_id")), values)
    return [JudgedSession(**row) for row in rows]


def judged_versions(store: Store, after: int = 0) -> list[Key]:
    """Patterns and student versions with a pair that a judge has accepted in a verdict of a number above `after`."""
    sql = """
        SELECT DISTINCT pattern_id, student FROM verdicts
        WHERE seq > ? AND source = 'judge' AND verdict = 'accept' ORDER BY ALL
    """
    return [(pattern, student) for pattern, student in store.rows(sql, (after,))]


def judged_gate(sessions: list[JudgedSession], epsilon: float, alpha: float) -> JudgedGate:
    """Both tests after these sessions. epsilon: risk limit, alpha: of this trial."""
    gate, held = JudgedGate.begin(epsilon, alpha), False
    for session in sessions:
        gate = gate.judge(session.flagged)
        if session.drawn:
            held = held or session.open > 0
            gate = gate if held else gate.review(session.missed)
    return gate


class JudgedTests:
    """How far the labels that rest on a judge are proven, for the board; asked anew only where something has come."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._versions: set[Key] = set()
        self._read = 0
        self._seen: dict[Key, tuple[int, int, str]] = {}

    def versions(self, verdict: int) -> list[Key]:
        """`judged_versions`, given the number of the newest verdict: only newer ones than before are read. A version
        that once rested on a judge stays one, also when its pairs are removed from the store."""
        if verdict != self._read:
            self._versions.update(judged_versions(self._store, self._read))
            self._read = verdict
        return sorted(self._versions)

    def event(
        self, key: Key, state: PatternState, draw: Draw, verdict: int, heard: Callable[[str], int]
    ) -> Judged | None:
        """What is new about a version, if anything. heard: number of its sessions of a kind that have been heard."""
        kind = SHADOW if state.state == "shadow" else AUDIT
        seen = verdict, heard(kind), state.state
        if state.state not in ("shadow", *SERVING) or self._seen.get(key) == seen:
            return None
        self._seen[key] = seen
        sessions = judged_sessions(self._store, draw, *key, kind)
        gate = judged_gate(sessions, state.epsilon, alpha_for(state.k, state.options.alpha))
        return Judged(at=self._clock(), kind=kind, gate=gate) if gate != state.judged else None
