"""Pairs for people: the teacher's and the student's action on one call side by side, and every verdict on them.

Lists go newest first and are paged by the last pair that was seen, so no page is lost or shown twice while new pairs
come in.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..traffic.actions import Action, ToolCall, action_of, parameters
from ..traffic.answers import dump
from ..traffic.canonical import loads
from ..traffic.compare import COMPARATOR, MISSING, UNSURE, differences, pair_calls
from ..traffic.conversations import requests_of
from ..traffic.errors import BadInput, UnknownName
from ..traffic.store import Store
from ..traffic.texts import compare_texts
from ..traffic.tool_policy import ToolPolicy
from .verdicts import RULES, PairKey, read_key, verdicts_of

LONGEST = 300
"""Characters of an action in a list."""
_UNSURE = f"(ruled_reason = '{UNSURE}' OR ruled_reason LIKE '{UNSURE}:%')"
FILTERS = {
    "all": "TRUE",
    "disagree": "loss > 0",
    "unsure": f"{_UNSURE} AND decided_by = 'rules'",
    "judged": "decided_by = 'judge'",
    "human": "decided_by = 'human'",
    "waiting": "waits",
}
"""What `only` can be."""


@dataclass(frozen=True)
class Pair:
    """One pair in a list: a row of `/api/pairs`."""

    pair_id: str
    """`CALL:KIND:STUDENT`."""
    call_id: str
    student: str
    kind: str
    """`shadow`: the teacher served; `audit`: the student served."""
    pattern_id: str
    trajectory_id: str
    at: float
    loss: float
    """What counts now, in [0, 1]."""
    reason: str
    decided_by: str
    """`rules`, `judge` or `human`."""
    ruled_loss: float
    ruled_reason: str
    """What the rules said."""
    waits: bool
    """A judge has yet to decide; the session is held back until then."""
    comparator: int
    policy: str
    changed_at: float
    """When the loss last changed; `at` unless a later verdict changed it."""
    teacher: str
    """The action in short, as in `set_status(parcel="P1")`; empty when there is none."""
    student_action: str
    student_ms: float | None
    student_prompt_tokens: int | None
    student_completion_tokens: int | None
    teacher_prompt_tokens: int | None
    teacher_completion_tokens: int | None


@dataclass(frozen=True)
class DiffRow:
    """One line of the comparison: an argument of a call, a whole call, or the text."""

    tool: str
    """Empty for a text."""
    path: str
    """Of the argument, as in `order.items[0].name`; empty for a whole call or a text."""
    compared_as: str
    """`value`, `text`, `ignored`, or `call` where the other side has no call of the tool to match."""
    given_by: str
    """`both`, `teacher` or `student`."""
    teacher: Any
    student: Any
    why: str
    """Why this line differs; empty where it does not."""


_COLUMNS = """
call_id, student, kind, pattern_id, trajectory_id, comparisons."at" AS "at", loss, reason, decided_by, ruled_loss,
ruled_reason, waits, comparator, policy, changed_at, teacher, student_answer, student_ms, student_prompt_tokens,
student_completion_tokens, teacher_prompt_tokens, teacher_completion_tokens
"""


def list_pairs(
    store: Store, pattern_id: str = "", only: str = "all", before: str = "", limit: int = 50, student: str = ""
) -> list[Pair]:
    """Pairs, newest first; those older than the pair with the id `before`. Raises BadInput and UnknownName."""
    if only not in FILTERS:
        raise BadInput(f"Parameter 'only' is one of {', '.join(FILTERS)}, not {only!r}.")
    values: dict[str, Any] = {"pattern": pattern_id, "student": student, "limit": limit}
    older = "TRUE"
    if before:
        last = _row(store, read_key(before))
        older = """(comparisons."at", call_id, kind, student) < ($at, CAST($call AS UUID), $kind, $of)"""
        values |= {"at": last["at"], "call": last["call_id"], "kind": last["kind"], "of": last["student"]}
    where = "($pattern = '' OR pattern_id = $pattern) AND ($student = '' OR student = $student)"
    return select(store, f"{where} AND {FILTERS[only]} AND {older}", values)


def select(store: Store, where: str, values: dict[str, Any]) -> list[Pair]:
    """Pairs under a condition in SQL, newest first; `values` has at least a `limit`."""
    sql = f"""
        SELECT {_COLUMNS} FROM comparisons WHERE {where}
        ORDER BY comparisons."at" DESC, call_id DESC, kind DESC, student DESC LIMIT $limit
    """
    return [_pair(row) for row in store.query(sql, values)]


def show_pair(store: Store, pair_id: str, policy: ToolPolicy) -> dict[str, Any]:
    """One pair with its input, both actions, the lines of their comparison under `policy`, and every verdict.

    Raises UnknownName.
    """
    key = read_key(pair_id)
    row = _row(store, key)
    request = requests_of(store, [key.call_id]).get(key.call_id) or {}
    theirs, ours = (_message(row[name]) for name in ("teacher", "student_answer"))
    said = verdicts_of(store, key)
    first = {
        "seq": 0,
        "at": row["at"],
        "source": RULES,
        "who": f"comparator {row['comparator']}",
        "verdict": "accept" if row["ruled_loss"] == 0 else "reject",
        "loss": row["ruled_loss"],
        "reason": row["ruled_reason"],
        "comparator": row["comparator"],
        "policy": row["policy"],
    }
    return {
        **asdict(_pair(row)),
        "input": request,
        "teacher_message": theirs,
        "student_message": ours,
        "diff": [asdict(line) for line in diff(theirs, ours, request.get("tools"), policy)],
        "verdicts": said if any(one["source"] == RULES for one in said) else [first, *said],
        "policy_now": policy.digest,
        "comparator_now": COMPARATOR,
    }


def diff(
    theirs: dict[str, Any] | None, ours: dict[str, Any] | None, tools: list[dict[str, Any]] | None, policy: ToolPolicy
) -> Iterator[DiffRow]:
    """Two messages line by line, ignored arguments included."""
    one, other = action_of(theirs or {}), action_of(ours or {})
    if one.text or other.text:
        why = compare_texts(one.text, other.text) if one.kind == other.kind == "text" else ""
        yield DiffRow("", "", "text", _given(one.text, other.text), one.text, other.text, why)
    schemas = parameters(tools)
    for call, match in pair_calls(one.calls, other.calls, schemas, policy):
        if call is None or match is None:
            alone = call or match
            assert alone is not None
            whose = "teacher" if match is None else "student"
            why = "missing" if match is None else "extra"
            yield DiffRow(alone.name, "", "call", whose, _arguments(call), _arguments(match), why)
        else:
            yield from _lines(call, match, schemas.get(call.name), policy)


def _lines(call: ToolCall, match: ToolCall, schema: Any, policy: ToolPolicy) -> Iterator[DiffRow]:
    if call.arguments is None or match.arguments is None:
        yield DiffRow(call.name, "", "value", "both", call.raw, match.raw, "unparsable")
        return
    leaves = list(differences(call, match, schema, policy.of(call.name), ignored=True))
    if not leaves:
        yield DiffRow(call.name, "", "value", "both", {}, {}, "")
    for leaf in leaves:
        given = "student" if leaf.theirs is MISSING else "teacher" if leaf.ours is MISSING else "both"
        theirs, ours = (None if side is MISSING else side for side in (leaf.theirs, leaf.ours))
        yield DiffRow(call.name, leaf.path, leaf.compared_as, given, theirs, ours, leaf.why)


def _arguments(call: ToolCall | None) -> Any:
    return call and (call.raw if call.arguments is None else call.arguments)


def _given(theirs: str, ours: str) -> str:
    return "both" if theirs and ours else "teacher" if theirs else "student"


def _row(store: Store, key: PairKey) -> dict[str, Any]:
    where = "call_id = CAST($call_id AS UUID) AND student = $student AND kind = $kind"
    found = store.query(f"SELECT {_COLUMNS} FROM comparisons WHERE {where}", key._asdict())
    if not found:
        raise UnknownName(f"There is no pair {key.text!r}. List them with: tutelage pairs list")
    return found[0]


def _pair(row: dict[str, Any]) -> Pair:
    plain = {name: value for name, value in row.items() if name not in ("teacher", "student_answer")}
    key = PairKey(row["call_id"], row["student"], row["kind"])
    shown = (in_short(action_of(_message(row[name]) or {})) for name in ("teacher", "student_answer"))
    return Pair(pair_id=key.text, **plain, **dict(zip(("teacher", "student_action"), shown, strict=True)))


def _message(text: str) -> dict[str, Any] | None:
    return loads(text) if text else None


def in_short(action: Action) -> str:
    """One line: calls as they would be written in code, or the text; cut at LONGEST characters."""
    text = "; ".join(map(_written, action.calls)) or " ".join(action.text.split())
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _written(call: ToolCall) -> str:
    if call.arguments is None:
        return f"{call.name}({call.raw})"
    return f"{call.name}({', '.join(f'{name}={dump(value)}' for name, value in call.arguments.items())})"
