"""Answers that come back in the next request, told by their text alone.

Agents send an answer back without the members that say nothing:

    answer    {"role": "assistant", "content": "Done.", "refusal": null, "annotations": []}
    request   {"role": "assistant", "content": "Done."}

Both texts are whole JSON objects, and one begins with all of the other but its closing brace. So what is left of the
longer one are further members, and where each of them is one that the canonical form leaves out, and none of them
stands in the shorter text as well, both are the same message. Anything else is compared by its canonical bytes.
"""

from functools import lru_cache

from .canonical import canonical_message, loads
from .errors import BadInput

_ESCAPED = b"\\u00"
"""How the name of a member may be hidden: a letter of it as an escape."""


def is_echo(text: bytes, answer: bytes) -> bool:
    """Whether a message says what an answer says; both are JSON objects. False where a glance cannot tell."""
    if text == answer:
        return True
    if not answer.startswith(text[:-1]) or _ESCAPED in text:
        return False
    names = _unsaid(answer[len(text) - 1 :])
    for name in names:
        if name in text:
            return False
    return bool(names)


@lru_cache(maxsize=256)
def _unsaid(rest: bytes) -> tuple[bytes, ...]:
    """The names, in quotes, of the members at the end of an object that do not count; none where one of them does."""
    try:
        members = loads(b"{" + rest.removeprefix(b","))
    except BadInput:
        return ()
    if not rest.startswith(b",") or not isinstance(members, dict) or canonical_message(members) != b"{}":
        return ()
    names = tuple(b'"%b"' % name.encode() for name in members)
    return names if all(name[1:-1].replace(b"_", b"").isalnum() for name in names) else ()
