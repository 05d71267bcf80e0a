"""The admin API's part for the judge, reviews and the teacher's noise (docs/comparison.md)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response

from ..traffic.errors import BadInput
from ..traffic.store import Store
from .admin_http import answer
from .draws import Draw, draw_for
from .gate import alpha_for
from .judge import version_of
from .judge_queue import DAY_S, JudgeQueue, scores, spent_since
from .noise_labels import noise_rows
from .options import ControlOptions
from .overview import Overview
from .reviews import judged_gate, judged_sessions, to_review
from .verdicts import JUDGE

LONGEST_LIST = 10_000


@dataclass(frozen=True)
class JudgeAdmin:
    """What the routes need."""

    overview: Overview
    secret: bytes
    clock: Callable[[], float]
    one: Callable[[str], str]
    """The one pattern of an id or a name."""

    @property
    def store(self) -> Store:
        return self.overview.store

    @property
    def options(self) -> ControlOptions:
        return self.overview.options

    @property
    def draw(self) -> Draw:
        """Which sessions people are asked to review."""
        return draw_for(self.secret, "review", self.options.judge.review_share)

    def judge(self) -> dict[str, Any]:
        """`GET /api/judge`."""
        now, options = self.clock(), self.options.judge
        version = version_of(options.model, options.extra) if options.url else ""
        queue = JudgeQueue(self.store, options, version, priced=True)
        return {
            "judge": version,
            "url": options.url,
            "model": options.model,
            "status": next((one.status for one in self.overview.runners if one.status.kind == JUDGE), None),
            "queue": queue.length(now) if options.url else 0,
            "waiting": self.store.value("SELECT count(*) FROM comparisons WHERE waits"),
            "today": spent_since(self.store, now // DAY_S * DAY_S),
            "limits": {
                "questions": options.questions_per_day,
                "tokens": options.tokens_per_day,
                "usd": options.usd_per_day,
            },
            "to_review": len(to_review(self.store, self.draw, limit=1000)),
            "scores": scores(self.store),
        }

    def tests(self, pattern_id: str) -> list[dict[str, Any]]:
        """The two tests of each student version that a judge has decided pairs of, under `GET /api/judge/PATTERN`."""
        sql = """
            SELECT DISTINCT v.student, v.kind FROM verdicts v WHERE v.pattern_id = ? AND v.source = 'judge'
                AND v.verdict IN ('accept', 'reject') ORDER BY ALL
        """
        states = {state.student: state for state in self.overview.board.states(pattern_id)}
        found = []
        for student, kind in self.store.rows(sql, (pattern_id,)):
            if (state := states.get(student)) is not None:
                sessions = judged_sessions(self.store, self.draw, pattern_id, student, kind)
                gate = judged_gate(sessions, state.epsilon, alpha_for(max(state.k, 1), state.options.alpha))
                held = sum(session.drawn and session.open > 0 for session in sessions)
                found.append(_told(gate, state.options.alpha, student, kind) | {"sessions_to_review": held})
        return found

    def noise(self, pattern: str) -> list[Any]:
        """`GET /api/noise`."""
        patterns = [self.one(pattern)] if pattern else self.overview.board.patterns()
        found = []
        for pattern_id in patterns:
            state = self.overview.board.state(pattern_id)
            alpha = alpha_for(max(state.k, 1), state.options.alpha)
            found += noise_rows(self.store, pattern_id, state.epsilon, self.options.noise_margin, alpha)
        return found


def add_judge(app: FastAPI, admin: JudgeAdmin) -> None:
    """Add the routes."""

    @app.get("/api/judge")
    def judge() -> Response:
        return answer(admin.judge())

    @app.get("/api/judge/{pattern}")
    def tests(pattern: str) -> Response:
        return answer(admin.tests(admin.one(pattern)))

    @app.get("/api/reviews")
    def reviews(pattern: str = "", limit: int = 50) -> Response:
        if not 1 <= limit <= LONGEST_LIST:
            raise BadInput(f"Parameter 'limit' must lie between 1 and {LONGEST_LIST}, not be {limit}.")
        wanted = admin.one(pattern) if pattern else ""
        return answer(to_review(admin.store, admin.draw, wanted, limit))

    @app.get("/api/noise")
    def noise(pattern: str = "") -> Response:
        return answer(admin.noise(pattern))


def _told(gate: Any, alpha: float, student: str, kind: str) -> dict[str, Any]:
    def facts(test: Any) -> dict[str, Any]:
        low, high = test.interval(alpha)
        counts = {"n": test.n, "losses": test.total, "limit": test.epsilon}
        return counts | {"low": low, "high": high, "crossed": test.crossed}

    return {
        "student": student,
        "kind": kind,
        "flagged": facts(gate.flagged),
        "missed": facts(gate.missed),
        "crossed": gate.crossed,
        "lacking": gate.lacking,
    }
