"""Recorded tool sets for tests; a test that needs them is skipped where they are not."""

import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "dev"


@lru_cache(maxsize=4)
def tool_sets(source: str) -> list[list[dict[str, Any]]]:
    """The distinct tool sets of a recorded set, in its order."""
    path = FOLDER / f"{source}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"needs the recorded traffic {path.name} (docs/recorded-traffic.md), which is not here")
    with gzip.open(path) as lines:
        read = [json.loads(line) for line in lines]
    found = (item.get("tools") or (item.get("request") or {}).get("tools") for item in read)
    distinct = {json.dumps(tools, sort_keys=True): tools for tools in found if tools}
    return list(distinct.values())
