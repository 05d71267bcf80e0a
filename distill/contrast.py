"""Sessions that are not learnt from, set apart with the reason: what a student should not do.

They are written beside the data set, scrubbed like everything else, for people to look through and for methods that
learn from contrast. A session in which the second look finds anything personal is left out here, without blocking.
"""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

from .curate import Contrast

FILE = "contrast.jsonl.gz"


def write_contrast(folder: Path, sessions: Iterable[Contrast]) -> int:
    """Write `contrast.jsonl.gz` into a run's folder, one session a line; how many. No file without any."""
    lines = [json.dumps(_line(one), ensure_ascii=False) for one in sessions]
    if lines:
        draft = folder / f".{FILE}"
        with gzip.open(draft, "wt", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
        draft.replace(folder / FILE)
    return len(lines)


def _line(one: Contrast) -> dict[str, object]:
    return {
        "trajectory_id": one.item.trajectory_id,
        "reason": one.reason,
        "success": one.item.success,
        "success_source": one.item.success_source,
        "messages": one.item.messages,
        "answers": [call.index for call in one.item.calls],
    }
