"""Users' own functions where the rules cannot tell whether two texts mean the same.

    def names_a_time(run: Trajectory) -> bool | float | None: ...     # text_verifiers = ["my_checks:names_a_time"]

Each function is asked about both answers, the teacher's and the student's, as the last message of the run up to there.
One that accepts both has decided that they are the same; one that accepts the teacher's alone, that they are not. About
anything else (the teacher's is refused as well, no opinion, an error) it has said nothing, and the pair stays unsure:
for a judge, a person, or as a loss.

They stand apart from the verifiers of whole runs: these may look only at what has been done, and would accept any last
words after it. They run in a process of their own (`traffic/verifiers.py`), in the control plane alone.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..traffic.verifiers import Ended, Loaded, Trajectory, Verifiers
from .replies import Message

ENOUGH = 0.5
"""A number from here on accepts, as with outcomes of runs."""
VERIFIER = "verifier:"

logger = logging.getLogger(__name__)


class Ruling(NamedTuple):
    """What the functions have decided."""

    same: bool
    reason: str
    """`verifier:NAME`, with `@VERSION` where the function has one."""

    def loss(self, unsure: float) -> float:
        """The loss that it makes of an unsure pair's."""
        return 0.0 if self.same else unsure


@dataclass
class TextVerifiers:
    """The functions. `decide` may be called from several threads: they are asked one at a time."""

    functions: Verifiers
    problems: dict[str, str] = field(default_factory=dict)
    """Why a function gave no verdict when it was asked last, by its name."""

    def decide(self, request: Mapping[str, Any], session: str, theirs: Message, ours: Message) -> Ruling | None:
        """What they say of the teacher's and the student's answer to a request; None: nothing.

        One that refuses the student's answer beats all that accept it.
        """
        rulings = [self._ruling(one, request, session, theirs, ours) for one in self._loaded()]
        found = [ruling for ruling in rulings if ruling]
        return min(found, key=lambda ruling: ruling.same, default=None)

    def told(self) -> list[str]:
        """What somebody should look at, in words."""
        found = sorted(self.problems.copy().items())
        return [f"The text verifier {name} gave no verdict: {error}" for name, error in found]

    def close(self) -> None:
        """End their process."""
        self.functions.close()

    def _loaded(self) -> Sequence[Loaded]:
        if not self.functions.names:
            return ()
        try:
            loaded = self.functions.load()
        except Ended as ended:
            self.problems |= dict.fromkeys(self.functions.names, str(ended))
            return ()
        for one in loaded:
            if one.error:
                self._note(one.name, one.error)
        return [one for one in loaded if not one.error]

    def _ruling(
        self, one: Loaded, request: Mapping[str, Any], session: str, theirs: Message, ours: Message
    ) -> Ruling | None:
        if self._accepts(one.name, request, session, theirs) is not True:
            return None
        accepted = self._accepts(one.name, request, session, ours)
        if accepted is None:
            return None
        return Ruling(accepted, f"{VERIFIER}{one.name}" + (f"@{one.version}" if one.version else ""))

    def _accepts(self, name: str, request: Mapping[str, Any], session: str, answer: Message) -> bool | None:
        messages = [*(request.get("messages") or ()), {"role": "assistant", **answer}]
        try:
            verdict = self.functions.ask(name, Trajectory(session, messages, list(request.get("tools") or ()), []))
        except Ended as ended:
            self._note(name, str(ended))
            return None
        self._note(name, verdict.error)
        return None if verdict.value is None else float(verdict.value) >= ENOUGH

    def _note(self, name: str, error: str) -> None:
        if not error:
            self.problems.pop(name, None)
        elif self.problems.get(name) != error:
            self.problems[name] = error
            logger.warning("The text verifier %s gave no verdict: %s", name, error)
