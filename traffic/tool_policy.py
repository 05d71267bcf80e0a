"""What is known about a pattern's tools beyond their schemas, for comparing calls of them.

Caution is the default: a tool of which nothing is known writes, all its parameters are values, none is left out. What
is known can only make the comparison milder, so every rule says where it comes from (`proxy.tool_policies`), and a
verdict keeps the digest of the policy that it was made under.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

Kind = Literal["write", "read-only"]
_INDEX = re.compile(r"\[\d+\]")


class ToolRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How calls of one tool are compared. Parameters inside others are named `outer.inner`, in lists `items[].name`."""

    kind: Kind = "write"
    """`write`: an argument or an order that differs is a full loss. `read-only`: the tool changes nothing."""
    free_text: tuple[str, ...] = ()
    """Parameters for people to read: compared as texts, not as values."""
    ignore: tuple[str, ...] = ()
    """Parameters that mean nothing for the task, such as trace ids."""

    def compared_as(self, path: str) -> str:
        """`ignored`, `text` or `value`; what holds for a parameter holds for everything inside it."""
        plain = _INDEX.sub("[]", path)
        for names, how in ((self.ignore, "ignored"), (self.free_text, "text")):
            if any(plain == name or plain.startswith((f"{name}.", f"{name}[")) for name in names):
                return how
        return "value"


CAUTIOUS = ToolRule()


class ToolPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of a pattern's tools by their names."""

    rules: Mapping[str, ToolRule] = {}
    partial: float = 0.5
    """Loss for a read-only call with other arguments, in [0, 1]."""

    def of(self, tool: str) -> ToolRule:
        """The rule of a tool; the most cautious one where none is given."""
        return self.rules.get(tool, CAUTIOUS)

    def reads(self, tool: str) -> bool:
        """Whether the tool changes nothing."""
        return self.of(tool).kind == "read-only"

    @property
    def digest(self) -> str:
        """Twelve hex digits over everything that can change a verdict; empty while all rules are the cautious one."""
        said = {
            name: [rule.kind, sorted(rule.free_text), sorted(rule.ignore)]
            for name, rule in sorted(self.rules.items())
            if rule != CAUTIOUS
        }
        if not said:
            return ""
        text = json.dumps([said, self.partial], ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]
