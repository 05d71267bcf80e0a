"""The tool policies in force: what people said, what the settings say, and what was guessed, in this order.

A person's word is for one pattern. The settings (`[tools.NAME]`) are for a tool of that name in any pattern. A guess is
made once per pattern, from its tools' schemas and its newest calls, before the first comparison under it. All of them
but the settings are rows of `tool_rules` that are never changed, so every policy that was ever in force can be told.
"""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from ..traffic.actions import parameters
from ..traffic.canonical import loads
from ..traffic.errors import BadInput
from ..traffic.newest import newest_toolset
from ..traffic.store import Store
from ..traffic.tool_policy import CAUTIOUS, ToolPolicy, ToolRule
from ..traffic.tool_policy_guess import Guess, guess_rule, usage_of
from .memo import Memo

LOOK_S = 0.15
"""Who only looks waits so long for a first guess."""
PERSON, SETTINGS, GUESS, RESET, DEFAULT = "person", "settings", "guess", "reset", "default"


class Ruled(NamedTuple):
    """One tool's rule and where it comes from."""

    tool: str
    rule: ToolRule
    source: str
    """`person`, `settings`, `guess`, or `default` when nothing is known."""
    reason: str
    actor: str
    at: float
    parameters: tuple[str, ...]
    """Of its schema, at the top level."""
    description: str


@dataclass(frozen=True)
class Known:
    """What is remembered of one pattern."""

    tools: tuple[Ruled, ...]
    policy: ToolPolicy


class PolicyBook:
    """Policies by pattern id. Safe to use from several threads: a lock makes guesses and edits one at a time."""

    def __init__(self, store: Store, settings: Mapping[str, ToolRule], clock: Callable[[], float]) -> None:
        self._store, self._settings, self._clock = store, dict(settings), clock
        self._known: dict[str, Known] = {}
        self._guesses = Memo()
        self._lock = threading.Lock()

    def policy(self, pattern_id: str) -> ToolPolicy:
        """The policy in force; guessed first where nothing is known yet."""
        return self._look_up(pattern_id).policy

    def tools(self, pattern_id: str) -> tuple[Ruled, ...]:
        """The rules of the tools that the pattern's newest call offered, in its order."""
        return self._look_up(pattern_id).tools

    def seen(self, pattern_id: str) -> Known:
        """Both, for who only looks: a first guess that takes long is made beside, and until then the defaults show."""
        known = self._known.get(pattern_id)
        if known is None:
            self._guesses.later(pattern_id, lambda: self._look_up(pattern_id), 0.0, LOOK_S)
            known = self._known.get(pattern_id) or self._read(pattern_id)
        return known

    def change(
        self, pattern_id: str, changes: Mapping[str, ToolRule | None], actor: str, reason: str = ""
    ) -> tuple[Ruled, ...]:
        """A person's rules for some tools; None takes back what people said before. Raises BadInput."""
        known = {one.tool: one for one in self.tools(pattern_id)}
        for tool, rule in changes.items():
            if tool not in known:
                raise BadInput(f"Pattern {pattern_id} has no tool {tool!r}. Its tools: {', '.join(known) or 'none'}.")
            if rule is not None:
                _check(rule, known[tool])
        with self._lock:
            for tool, rule in changes.items():
                self._write(pattern_id, tool, PERSON if rule else RESET, rule or CAUTIOUS, actor, reason)
            self._known.pop(pattern_id, None)
        return self.tools(pattern_id)

    def guess(self, pattern_id: str, actor: str) -> tuple[Ruled, ...]:
        """Guess again, from the calls of today; what people said stays in force."""
        with self._lock:
            self._guess(pattern_id, actor)
            self._known.pop(pattern_id, None)
        return self.tools(pattern_id)

    def history(self, pattern_id: str, limit: int = 200) -> list[dict[str, Any]]:
        """Every rule that was ever said or guessed, newest first."""
        sql = """
            SELECT seq, tool_rules."at", tool, source, detail, actor, reason FROM tool_rules WHERE pattern_id = ?
            ORDER BY seq DESC LIMIT ?
        """
        rows = self._store.query(sql, (pattern_id, limit))
        return [{**row, "detail": json.loads(row["detail"])} for row in rows]

    def _look_up(self, pattern_id: str) -> Known:
        known = self._known.get(pattern_id)
        if known is None:
            with self._lock:
                known = self._read(pattern_id)
                if any(one.source == DEFAULT for one in known.tools):
                    self._guess(pattern_id, "control")
                    known = self._read(pattern_id)
                # A pattern without a call yet may have tools tomorrow.
                if known.tools:
                    self._known[pattern_id] = known
        return known

    def _read(self, pattern_id: str) -> Known:
        sql = """
            SELECT tool, source, detail, actor, reason, tool_rules."at" FROM tool_rules WHERE pattern_id = ?
            ORDER BY seq
        """
        said: dict[str, dict[str, dict[str, Any]]] = {}
        for row in self._store.query(sql, (pattern_id,)):
            mine = said.setdefault(row["tool"], {})
            if row["source"] == RESET:
                mine.pop(PERSON, None)
            else:
                mine[row["source"]] = row
        # A pattern that was merged from others may have offered other tools before: their rules hold as well.
        used = tools_in_use(self._store, pattern_id)
        tools = {**used, **{name: {} for name in said if name not in used}}
        ruled = tuple(self._ruled(name, tools[name], said.get(name, {})) for name in tools)
        return Known(ruled, ToolPolicy(rules={one.tool: one.rule for one in ruled if one.rule != CAUTIOUS}))

    def _ruled(self, name: str, tool: dict[str, Any], said: Mapping[str, dict[str, Any]]) -> Ruled:
        about = tuple(_properties(tool)), str(tool.get("description") or "")
        row = said.get(PERSON)
        if row is None and name in self._settings:
            return Ruled(name, self._settings[name], SETTINGS, f"[tools.{name}]", "", 0.0, *about)
        row = row or said.get(GUESS)
        if row is None:
            return Ruled(name, CAUTIOUS, DEFAULT, "", "", 0.0, *about)
        rule = msgspec.json.decode(row["detail"], type=ToolRule)
        return Ruled(name, rule, row["source"], row["reason"], row["actor"], row["at"], *about)

    def _guess(self, pattern_id: str, actor: str) -> None:
        tools = tools_in_use(self._store, pattern_id)
        usage = usage_of(self._store, pattern_id)
        for name, tool in tools.items():
            found: Guess = guess_rule(tool, usage.get(name))
            self._write(pattern_id, name, GUESS, found.rule, actor, found.reason)

    def _write(self, pattern_id: str, tool: str, source: str, rule: ToolRule, actor: str, reason: str) -> None:
        sql = "INSERT INTO tool_rules SELECT (SELECT coalesce(max(seq), 0) + 1 FROM tool_rules), ?, ?, ?, ?, ?, ?, ?"
        detail = msgspec.json.encode(rule).decode()
        self._store.execute(sql, (self._clock(), pattern_id, tool, source, detail, actor, reason))


def tools_in_use(store: Store, pattern_id: str) -> dict[str, dict[str, Any]]:
    """The function tools that the pattern's newest call offered, by name: name, description and parameters."""
    body = newest_toolset(store, pattern_id)
    tools = loads(body) if body else []
    schemas = parameters(tools)
    found = {}
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and function.get("name") in schemas:
            found[function["name"]] = function
    return found


def _properties(tool: Mapping[str, Any]) -> dict[str, Any]:
    schema = tool.get("parameters")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return properties if isinstance(properties, dict) else {}


def _check(rule: ToolRule, known: Ruled) -> None:
    """Raises BadInput for a parameter that the tool does not have; a schema without properties allows any."""
    for path in (*rule.free_text, *rule.ignore):
        top = path.replace("[]", ".").split(".")[0]
        if known.parameters and top not in known.parameters:
            raise BadInput(f"Tool {known.tool} has no parameter {top!r}. It has: {', '.join(known.parameters)}.")
    if both := set(rule.free_text) & set(rule.ignore):
        raise BadInput(f"Parameter {min(both)!r} cannot be free text and ignored. Name it once.")
