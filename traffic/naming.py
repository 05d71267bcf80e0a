"""Names for people, and which pattern a new one descends from.

A prompt edit or a changed tool schema gives a new agent with new ids. When it is largely the same as a known one it
takes over the name with the next version: the name is inherited, the evidence is not.
"""

import re
from collections.abc import Iterable, Set
from functools import lru_cache

from .facts import Facts
from .patterns import PatternEntry
from .skeleton import GAP

_WORD = re.compile(r"[a-z][a-z']*")
_PLACEHOLDER = re.compile("⟨[^⟩]*⟩")
# Only such a line names the work; others may hold the name of a person, which does not belong in a pattern's name.
_ROLE = re.compile(r"#+ |you are |you're |your (?:task|job|role) |act as ", re.IGNORECASE)
# Words that open nearly every system prompt and so name nothing.
_STOP = re.compile(
    r"(?:a|according|act|agent|ai|an|and|are|as|assists|at|be|by|expert|following|for|given|helper|helpful|helps|i|in|is"
    r"|job|language|large|model|of|on|or|please|role|s|system|task|that|the|their|this|to|tools|use|user|users|using"
    r"|who|will|with|you|you're|your)"
)
_NAME_WORDS = 4
_SAME_TOOLS = 0.6
_SAME_TEXT = 0.6


def relative_of(entries: Iterable[PatternEntry], facts: Facts, skeleton: tuple[str, ...], hint: str) -> str:
    """Name of the known agent that a new one is a version of; empty when it is a new kind of agent."""
    if hint:
        return next((entry.name for entry in entries if entry.hint == hint), "")
    best, name = 0.0, ""
    tools, words = set(facts.tool_names), _words(skeleton)
    seen: set[str] = set()
    for entry in entries:
        if entry.hint or entry.agent_id in seen:
            continue
        seen.add(entry.agent_id)
        same_tools = _overlap(tools, set(entry.tool_names))
        same_text = _overlap(words, _words(entry.skeleton)) if same_tools >= _SAME_TOOLS else 0.0
        if same_text >= _SAME_TEXT and same_tools + same_text > best:
            best, name = same_tools + same_text, entry.name
    return name


def name_of(facts: Facts, skeleton: tuple[str, ...], hint: str, taken: set[str]) -> str:
    """A short name from the line of the prompt that says what it is for, else from the tools; numbered if taken."""
    base = hint or _from_prompt(skeleton) or _from_tools(facts.tool_names) or "chat"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    return name


def _from_prompt(skeleton: tuple[str, ...]) -> str:
    for line in skeleton:
        words = [word for word in _WORD.findall(line.lower()) if not _STOP.fullmatch(word)]
        if _ROLE.match(line) and "⟨" not in line and len(words) >= 2:
            return "-".join(word.replace("'", "") for word in words[:_NAME_WORDS])
    return ""


def _from_tools(names: tuple[str, ...]) -> str:
    first, others = "".join(names[:1]), len(names) - 1
    return f"{first}+{others}".lower() if others > 0 else first.lower()


# Every new agent is compared with all known ones.
@lru_cache(maxsize=256)
def _words(skeleton: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word for line in skeleton if line != GAP for word in _PLACEHOLDER.sub(" ", line).split())


def _overlap(one: Set[str], other: Set[str]) -> float:
    """Share of the union that both have; 1 for two empty sets."""
    return len(one & other) / len(one | other) if one | other else 1.0
