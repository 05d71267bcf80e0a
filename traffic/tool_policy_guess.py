"""Guessing a tool's rule from its schema and from how the teacher has used it.

A wrong guess must not make a bad student look good, so the evidence that is asked for grows with what a mistake would
cost. *Free text* needs a name or values that look like prose: texts that differ in wording are unsure, never passed.
*Read-only* needs a name that reads and nothing that hints at writing. *Ignored* needs a name that is one of a few, and
traffic in which every value is new and none stands in the prompt. Whatever is not clear stays what it is by default.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from . import schema
from .actions import action_of
from .conversations import answers_of, requests_of
from .newest import newest
from .store import Store
from .tool_policy import ToolRule

SAMPLE_CALLS = 300
"""Newest calls of the pattern that are looked at."""
ENOUGH = 20
"""Values of a parameter before traffic says anything about it."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_READS = _set(
    "get list search find read fetch lookup look query show describe view count retrieve browse inspect is has"
)
_WRITES = _set(
    "create update delete set add remove send book cancel write post put patch insert upload move rename turn play "
    "pause stop start run execute exec transfer pay buy order submit approve assign close open lock unlock call apply "
    "edit modify change make schedule reset clear mark register subscribe unsubscribe reply forward trigger"
)
_WRITES_ANYWHERE = _set("create update delete remove insert write modify cancel send upload execute")
_WRITING_WORDS = re.compile(
    r"\b(?:creat|updat|delet|remov|insert|writ|modif|cancel|send|upload|execut|chang|book|schedul|submit|mark|sav|stor"
    r"|adds?\b|sets?\b|posts?\b|edit|append|overwrit|regist|transfer|charg|paid|pays?\b|trigger)\w*",
    re.IGNORECASE,
)
_READING_WORDS = re.compile(
    r"^\W*(?:returns?|gets?|retrieves?|lists?|searche?s?|finds?|looks? up|fetche?s?|reads?|queries|query|shows?)\b",
    re.IGNORECASE,
)
_PROSE = _set(
    "note notes message comment comments description reason explanation summary question thought thoughts reply "
    "feedback greeting details justification rationale reasoning remark remarks apology announcement"
)
_SEARCHED = frozenset({"query", "q", "search", "term", "terms", "keywords", "phrase"})
_CODE = re.compile(r"sql|graphql|jql|regex|xpath|jsonpath|expression|code|script|lucene|cypher", re.IGNORECASE)
_EXACT = _set(
    "id ids key code path file filename url uri email phone date time datetime timestamp uuid hash token lang language "
    "locale currency timezone version format type status mode name username"
)
_TRACES = _set("trace_id request_id correlation_id span_id idempotency_key client_token nonce transaction_trace_id")


@dataclass
class Values:
    """What one parameter was given."""

    n: int = 0
    distinct: set[str] = field(default_factory=set)
    words: int = 0
    """In all strings together."""
    strings: int = 0
    quoted: int = 0
    """Values that stand in the prompt word for word."""

    def take(self, value: Any, prompt: str) -> None:
        """Count one value in."""
        text = value if isinstance(value, str) else repr(value)
        self.n += 1
        self.distinct.add(text)
        self.quoted += text in prompt
        if isinstance(value, str):
            self.strings += 1
            self.words += len(text.split())

    @property
    def new(self) -> float:
        """Share of values that differ from all others."""
        return len(self.distinct) / self.n if self.n else 0.0

    @property
    def length(self) -> float:
        """Mean number of words."""
        return self.words / self.strings if self.strings else 0.0


Usage = Mapping[str, Values]
"""By parameter, at the top level."""


class Guess(NamedTuple):
    """A rule, and why."""

    rule: ToolRule
    reason: str


def guess_rule(tool: Mapping[str, Any], usage: Usage | None = None) -> Guess:
    """The rule of a function tool (`name`, `description`, `parameters`), from its schema and its use so far."""
    name, about = str(tool.get("name") or ""), str(tool.get("description") or "")
    reads, why = _reads(name, about, tool.get("annotations"))
    reasons = [why]
    free_text, ignore = [], []
    parameters = tool.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    for parameter, part in properties.items() if isinstance(properties, dict) else ():
        values = (usage or {}).get(parameter) or Values()
        if reason := _ignored(parameter, values):
            ignore.append(parameter)
        elif reason := _prose(parameter, schema.resolve(part, parameters), values, reads, name):
            free_text.append(parameter)
        if reason:
            reasons.append(f"{parameter}: {reason}")
    kind = "read-only" if reads else "write"
    return Guess(ToolRule(kind=kind, free_text=tuple(free_text), ignore=tuple(ignore)), "; ".join(reasons))


def usage_of(store: Store, pattern_id: str, sample: int = SAMPLE_CALLS) -> dict[str, dict[str, Values]]:
    """How the teacher used the tools in the pattern's newest calls, by tool and parameter."""
    sql = """
        SELECT call_id FROM calls WHERE pattern_id = ? AND started_at >= ? AND route = 'teacher'
            AND response_id IS NOT NULL AND request_tail IS NOT NULL AND retried IS NOT TRUE
        ORDER BY started_at DESC LIMIT ?
    """
    rows = newest(store, sample, lambda since: store.rows(sql, (pattern_id, since, sample)), [pattern_id])
    ids = [str(call_id) for (call_id,) in rows]
    answers = {call_id: action_of(answer) for call_id, answer in answers_of(store, ids).items() if answer}
    requests = requests_of(store, [call_id for call_id, action in answers.items() if action.calls])
    found: dict[str, dict[str, Values]] = {}
    for call_id, request in requests.items():
        prompt = str(request["messages"])
        for call in answers[call_id].calls:
            mine = found.setdefault(call.name, {})
            for parameter, value in (call.arguments or {}).items():
                mine.setdefault(parameter, Values()).take(value, prompt)
    return found


def _reads(name: str, about: str, annotations: Any) -> tuple[bool, str]:
    """Whether the tool changes nothing, and why we think so."""
    if isinstance(annotations, dict) and isinstance(annotations.get("readOnlyHint"), bool):
        return annotations["readOnlyHint"], f"its annotation says readOnlyHint = {annotations['readOnlyHint']}"
    words = words_of(name)
    first = next((word for word in words if word in _READS | _WRITES), "")
    strong = next((word for word in words if word in _WRITES_ANYWHERE), "")
    if first in _WRITES or strong:
        return False, f"the name says {strong or first!r}"
    if writing := _WRITING_WORDS.search(about):
        return False, f"the description says {writing.group()!r}"
    if first:
        return True, f"the name says {first!r}"
    if reading := _READING_WORDS.search(about):
        return True, f"the description begins with {reading.group().strip()!r}"
    return False, "nothing says that it only reads"


def _ignored(parameter: str, values: Values) -> str:
    """Why a parameter means nothing for the task, or an empty string."""
    if "_".join(words_of(parameter)) not in _TRACES or values.n < ENOUGH:
        return ""
    if values.new < 0.95 or values.quoted:
        return ""
    return f"named like a trace, {len(values.distinct)} of {values.n} values differ, none is in the prompt"


def _prose(parameter: str, part: Any, values: Values, reads: bool, tool: str) -> str:
    """Why a parameter is free text, or an empty string."""
    part = part if isinstance(part, dict) else {}
    if "string" not in schema.types_of(part) or any(key in part for key in ("enum", "const", "format", "pattern")):
        return ""
    words, about = words_of(parameter), str(part.get("description") or "")
    if not words or words[-1] in _EXACT or _CODE.search(f"{parameter} {about} {tool}"):
        return ""
    if reads and words[-1] in _SEARCHED:
        return "what is searched for"
    seen = f"{values.length:.0f} words on average, {len(values.distinct)} of {values.n} values differ"
    if words[-1] in _PROSE or words[0] in _PROSE:
        short = values.n >= ENOUGH and (values.length < 2 or values.new < 0.3)
        return "" if short else "named like a text" + (f", {seen}" if values.n else "")
    prose = values.n >= ENOUGH and values.length >= 8 and values.new >= 0.8 and values.quoted <= 0.1 * values.n
    # Files and documents are texts in which every character counts.
    return seen if prose and not {"file", "document", "page", "code"} & set(words_of(tool)) else ""


def words_of(name: str) -> list[str]:
    """The words of a name in camelCase, snake_case, kebab-case or with dots, in lower case."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return [part.lower() for part in parts]
