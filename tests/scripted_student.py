"""A student version without weights, for tests whose student server is scripted."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.traffic.layout import DataDir
from tutelage.traffic.students import ADAPTER, Manifest, PromptSpec, StudentRegister


def register_scripted(root: Path, version: str, patterns: Sequence[dict[str, Any]]) -> None:
    """Put it into the register of a data folder, for all of these patterns (rows of `/api/patterns`)."""
    draft = root / "runs" / "draft"
    (draft / ADAPTER).mkdir(parents=True)
    manifest = Manifest(
        version=version,
        name=version.partition("@")[0],
        status="candidate",
        created_at=time.time(),
        agent_id=patterns[0]["agent_id"],
        pattern_ids=[row["pattern_id"] for row in patterns],
        base="scripted",
        base_digest="0" * 12,
        prompt=PromptSpec(),
        snapshot_at=time.time(),
        data_digest="0" * 12,
    )
    StudentRegister(DataDir(root)).publish(draft, manifest)
