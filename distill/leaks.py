"""The second look: nothing personal may be left in what a student will be trained on.

It looks in two ways that do not trust the first pass. The detector runs again over the scrubbed conversations, and
whatever it finds must be a stand-in that was issued. And every original value is searched for literally, in the whole
text of every conversation and, for numbers, in its digits. Anything left blocks the run.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..traffic.errors import BadInput
from .detect import Detector
from .scrub import Message, Scrubbed, leaves


@dataclass(frozen=True)
class Leak:
    """A personal value that is still there. The value itself is not kept."""

    scope: str
    """Trajectory."""
    kind: str
    """Entity name, or `original` for a value that was exchanged elsewhere in the trajectory."""
    field: str
    """Key under which it stands; empty for plain text."""


class PersonalDataLeft(BadInput):
    """Scrubbing did not get everything; nothing was trained or written."""

    def __init__(self, leaks: Sequence[Leak]) -> None:
        shown = "; ".join(f"{leak.kind} in {leak.scope} {leak.field}".rstrip() for leak in leaks[:5])
        super().__init__(
            f"Personal data is left in {len({leak.scope for leak in leaks})} session(s) after scrubbing: {shown}. "
            "Nothing was trained. Exclude these sessions, or name harmless values in the setting `allow`."
        )
        self.leaks = list(leaks)


def scan(scope: str, scrubbed: Scrubbed, detector: Detector, kept: Iterable[str] = ()) -> list[Leak]:
    """What is left in one conversation. `kept`: values that are allowed to stay."""
    harmless = {value.lower() for value in kept}
    issued = {value.lower() for value in scrubbed.exchanged.values()}
    issued_digits = {_digits(value) for value in issued}
    leaks: list[Leak] = []
    for text, name in leaves(scrubbed.messages):
        for item in detector.find(text, name):
            value = text[item.start : item.end].lower()
            known = value in issued or (len(_digits(value)) >= 7 and _digits(value) in issued_digits)
            if value not in harmless and not known:
                leaks.append(Leak(scope, item.kind, name))
    return leaks + _originals(scope, scrubbed, issued)


def _originals(scope: str, scrubbed: Scrubbed, issued: set[str]) -> list[Leak]:
    text = json.dumps([_spoken(message) for message in scrubbed.messages], ensure_ascii=False).lower()
    leaks = []
    for value in scrubbed.exchanged:
        if value.lower() in issued:
            continue
        pattern = rf"(?<!\w){re.escape(value.lower())}(?!\w)"
        if re.search(pattern, text) or _digits_left(value, text):
            leaks.append(Leak(scope, "original", ""))
    return leaks


def _spoken(message: Message) -> Message:
    return {key: value for key, value in message.items() if key not in ("role", "tool_call_id")}


def _digits_left(value: str, text: str) -> bool:
    """Whether a number stands in the text, however it is spaced."""
    digits = _digits(value)
    if len(digits) < 9 or "@" in value:
        return False
    return re.search(r"(?<!\d)" + r"[ ().\-/]{0,2}".join(digits) + r"(?!\d)", text) is not None


def _digits(value: str) -> str:
    return re.sub(r"\D", "", value)


def require_clean(leaks: Sequence[Leak]) -> None:
    """Raises PersonalDataLeft when there is any leak."""
    if leaks:
        raise PersonalDataLeft(leaks)
