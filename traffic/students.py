"""The register of student versions: one immutable folder per version, `manifest.json` written last.

A folder without a manifest is a run that did not finish: it is not a version, and `sweep` removes it.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from .calibration import Calibration
from .errors import UnknownName
from .layout import DataDir, publish, publish_json
from .record_lists import RecordForm


class PromptSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How requests are turned into the student's prompt; the same value in training and in serving."""

    mode: str = "internalised"
    """`internalised`: the constant lines and the tool schemas are left out; `full`: everything is written out."""
    skeleton: list[str] = []
    """The constant lines of the system prompt, as the pattern registry knows them (see `patterns.Skeleton`)."""
    version: int = 1
    """Version of the rendering. A server refuses a version that it does not know."""
    records: RecordForm | None = None
    """How lists of records are shown (version 2, `internalised`); None: as they stand."""
    hides: list[str] = []
    """Kinds of masked values (`id`, `date`, `time`, `email`) that are not shown (version 2, `internalised`)."""
    grounded: dict[str, str] = {}
    """Arguments, by name, whose values are always those of a field of the shown records (version 2)."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a student version is made of."""

    version: str
    """`name@digest`, digest being the first 12 hex digits of the SHA-256 over the adapter's files."""
    name: str
    status: str
    """`candidate`: may be shadowed; `rejected`: did not beat its floor, kept for the record; `retired`: a person has
    taken it out of use, which is written beside the manifest, never into it."""
    created_at: float
    """Unix seconds."""
    agent_id: str
    pattern_ids: list[str]
    base: str
    """Name of the base model; see `serving.bases`."""
    base_digest: str
    prompt: PromptSpec
    snapshot_at: float
    """Start time (Unix seconds) of the newest call in the training snapshot: only later sessions may count as proof."""
    data_digest: str
    sessions: dict[str, int] = {}
    """Sessions by part: `train`, `held_out`."""
    rows: dict[str, int] = {}
    """Rows kept, and dropped by reason."""
    config: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    reason: str = ""
    """Why it was rejected; empty for a candidate."""
    seconds: dict[str, float] = {}
    """Time of each stage."""
    kind: str = "adapter"
    """`adapter`, put on the base; or `model`: whole weights of its own."""
    previous: str = ""
    """The version that it was examined beside and had to beat; empty without one."""
    calibration: Calibration | None = None
    """From the score of an answer to the probability that it is right; None where held-out answers were too few."""
    plots: list[str] = []
    """Names of the drawings (SVG) beside the manifest."""


class Lesson(msgspec.Struct, frozen=True):
    """One training row: a line of a version's lineage."""

    row: str
    trajectory_id: str
    call_ids: list[str]
    """Calls whose answers were taught."""

    def holds(self, name: str) -> bool:
        """Whether it comes from this call or trajectory."""
        return name == self.trajectory_id or name in self.call_ids


MANIFEST = "manifest.json"
RETIRED = "retired.json"
"""Who has retired a version, why and when."""
LINEAGE = "lineage.jsonl"
"""One line per training row: {row, trajectory_id, call_ids}."""
ADAPTER = "adapter"
"""Folder of the peft adapter inside a version."""
ADAPTER_GGUF = "adapter.gguf"
MODEL_GGUF = "model.gguf"
"""Of a version that is a whole model, in the adapter's place."""
PLOTS = "*.svg"


def adapter_digest(folder: Path) -> str:
    """First 12 hex digits of the SHA-256 over names and contents of all files below `folder`, in sorted order."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


class StudentRegister:
    """Reads and writes the versions below `DATA/students`. Readers see whole versions only."""

    def __init__(self, data: DataDir) -> None:
        self._root = data.students

    def path(self, version: str) -> Path:
        """Folder of a version, whether it exists or not."""
        return self._root / version

    def list(self) -> list[Manifest]:
        """All whole versions, oldest first."""
        found = [self._read(path) for path in self._root.glob(f"*/{MANIFEST}")]
        return sorted(found, key=lambda manifest: (manifest.created_at, manifest.version))

    def get(self, version: str) -> Manifest:
        """One version by `name@digest`. Raises UnknownName."""
        path = self.path(version) / MANIFEST
        if "/" in version or not path.is_file():
            known = ", ".join(manifest.version for manifest in self.list()) or "none yet"
            raise UnknownName(f"There is no student version {version!r}. Known: {known}.")
        return self._read(path)

    def publish(self, draft: Path, manifest: Manifest) -> Path:
        """Move a finished draft folder to its place and write the manifest last. Safe to repeat."""
        target = self.path(manifest.version)
        if not (target / MANIFEST).exists():
            if target.exists():
                shutil.rmtree(target)
            draft.rename(target)
            try:
                publish(target / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
            except BaseException:
                shutil.rmtree(target, ignore_errors=True)
                raise
        return target

    def delete(self, version: str) -> None:
        """Remove a version for good. Whether a route uses it is for the caller to know. Raises UnknownName."""
        self.get(version)
        # Without its manifest it is no version: a deletion that is cut short leaves none that is half there.
        (self.path(version) / MANIFEST).unlink()
        shutil.rmtree(self.path(version))

    def lessons(self, version: str) -> Sequence[Lesson]:
        """What a version learnt from, row by row. Raises UnknownName."""
        self.get(version)
        path = self.path(version) / LINEAGE
        lines = path.read_bytes().splitlines() if path.is_file() else []
        return [msgspec.json.decode(line, type=Lesson) for line in lines]

    def learnt_from(self, name: str) -> dict[str, Sequence[Lesson]]:
        """By version, the lessons that come from a call or a trajectory; versions without any are left out."""
        found = {
            one.version: [lesson for lesson in self.lessons(one.version) if lesson.holds(name)] for one in self.list()
        }
        return {version: lessons for version, lessons in found.items() if lessons}

    def sweep(self) -> Sequence[str]:
        """Remove folders that never became a version; returns their names."""
        broken = [p for p in self._root.iterdir() if p.is_dir() and not (p / MANIFEST).exists()]
        for path in broken:
            shutil.rmtree(path)
        return [path.name for path in broken]

    def retire(self, version: str, actor: str, reason: str, at: float) -> Manifest:
        """Take a version out of use for good: it is neither shadowed nor loaded again. Raises UnknownName."""
        if self.get(version).status != "retired":
            publish_json(self.path(version) / RETIRED, {"at": at, "actor": actor, "reason": reason})
        return self.get(version)

    @staticmethod
    def _read(path: Path) -> Manifest:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        try:
            told = msgspec.json.decode((path.parent / RETIRED).read_bytes(), type=_Retired)
        except FileNotFoundError:
            return manifest
        return msgspec.structs.replace(manifest, status="retired", reason=f"retired by {told.actor}: {told.reason}")


class _Retired(msgspec.Struct):
    at: float
    actor: str
    reason: str
