"""What scrubbing would make of one run, before any training: `python -m tutelage.distill.preview`.

JSON on stdin, `{"data", "trajectory_id", "messages", "tools", "system_texts", "rules"}`; JSON on stdout,
`{"messages", "counts", "stand_ins", "knows_names"}`. The stand-ins are those that a distillation would choose: the same
key, the same run. What was there before is not written out beside them. A process of its own, for the control plane
never loads Presidio.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec

from ..traffic.errors import TutelageError
from ..traffic.layout import DataDir
from ..traffic.scrub_rules import ScrubRules
from .detect import Detector, presidio_detector
from .scrub import Scrubber, shared_values


class Wanted(msgspec.Struct):
    """The run to scrub."""

    data: str
    """The data folder, whose key the stand-ins are made with."""
    trajectory_id: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] = []
    system_texts: list[str] = []
    """System prompts of the agent's runs: personal-looking values that all of them hold are the agent's own."""
    rules: ScrubRules = ScrubRules()
    """What the settings say about personal values."""


class Preview(msgspec.Struct):
    """The run without personal values."""

    messages: list[dict[str, Any]]
    counts: dict[str, int]
    """Distinct values exchanged, by kind."""
    stand_ins: list[str]
    knows_names: bool
    """Whether a language model looked for people's names, beside rules and lists."""


def preview(wanted: Wanted, detecting: tuple[Detector, bool]) -> Preview:
    """Scrub one run as a distillation does."""
    detector, knows_names = detecting
    kept = shared_values(detector, wanted.system_texts)
    scrubber = Scrubber(detector, DataDir(Path(wanted.data)).read_secret(), kept, wanted.rules)
    found = scrubber.scrub(wanted.trajectory_id, wanted.messages, wanted.tools)
    return Preview(found.messages, found.counts, sorted(set(found.exchanged.values())), knows_names)


def main(text: bytes) -> int:
    """Scrub what `text` asks for; the exit status. 1: it cannot be done, and the reason is on stderr."""
    try:
        wanted = msgspec.json.decode(text, type=Wanted)
        found = preview(wanted, presidio_detector(wanted.rules))
    except (TutelageError, msgspec.DecodeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.buffer.write(msgspec.json.encode(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer.read()))
