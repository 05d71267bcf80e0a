"""The student versions that are loaded: found in the register, one engine per base, the least used make room.

Bases that are served by themselves stay loaded. Loading happens on the thread that asks for it, under one lock: two
threads must not build engines for the same change. Answering needs no lock; it reads the finished table, which is
replaced as a whole.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..traffic.errors import TutelageError, UnknownName
from ..traffic.layout import DataDir
from ..traffic.students import ADAPTER_GGUF, MODEL_GGUF, Manifest, StudentRegister
from .bare import BareBase, model_name
from .chat_endpoint import ChatEndpoint
from .chat_student import ChatStudent
from .engine import Engine
from .engines import MakeBackend, backends_for
from .options import ServingOptions
from .student import Answering, Student

RETRY_S = 300.0
"""Time until what could not be loaded is tried again: memory may be free by then, or a file whole."""
_log = logging.getLogger(__name__)


class _Problem(NamedTuple):
    why: str
    until: float


class Pool:
    """Loaded versions of one data folder, and bases without one."""

    def __init__(
        self,
        options: ServingOptions,
        make_engine: MakeBackend | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._make, self._clock = make_engine or backends_for(options), clock
        self._register = StudentRegister(DataDir(Path(options.data)))
        self._engines: dict[str, Engine | ChatEndpoint] = {}
        self._adapters: dict[str, dict[str, Path]] = {}
        self._students: dict[str, Answering] = {}
        self._recent: list[str] = []
        self._problems: dict[str, _Problem] = {}
        self._loading = threading.Lock()

    @property
    def versions(self) -> list[str]:
        """Loaded versions, and bases by their names."""
        return list(self._students)

    @property
    def problems(self) -> dict[str, str]:
        """Why a version or base cannot be served, by its name."""
        return {name: problem.why for name, problem in self._problems.copy().items()}

    def refresh(self) -> list[str]:
        """Load candidates that are new in the register, the newest last; returns what is loaded then."""
        with self._loading:
            now = self._clock()
            self._problems = {name: one for name, one in self._problems.items() if now < one.until}
            known = [m.version for m in self._register.list() if m.status == "candidate"]
            fresh = [v for v in known if v not in self._recent and v not in self._problems]
            self._load([v for v in self._recent if v in known] + fresh)
        return self.versions

    def get(self, version: str) -> Answering:
        """A version, loaded now if it is not. Raises UnknownName."""
        student = self._students.get(version)
        if student is None and version not in self._problems:
            with self._loading:
                self._register.get(version)
                self._load([*(v for v in self._recent if v != version), version])
            student = self._students.get(version)
        if student is None:
            why = self.problems.get(version, "the log says why")
            raise UnknownName(f"The student version {version!r} cannot be loaded: {why}")
        if version in self._recent and self._recent[-1] != version:
            # Only the order of eviction; a lost race here costs nothing.
            self._recent = [*(v for v in self._recent if v != version), version]
        return student

    def lane(self, version: str) -> str:
        """Which versions take turns with this one; see `Student.lane`. Empty for one that is not loaded."""
        student = self._students.get(version)
        return student.lane if student else ""

    def close(self) -> None:
        """Let all engines go."""
        with self._loading:
            for engine in self._engines.values():
                engine.close()
            self._engines, self._students, self._recent = {}, {}, []

    def _load(self, wanted: list[str]) -> None:
        """Make the newest of `wanted` the loaded ones. A version that fails is left out for a while."""
        manifests = {v: self._register.get(v) for v in wanted[-self._options.keep :]}
        groups: dict[str, list[Manifest]] = {base: [] for base in self._options.bases}
        for manifest in manifests.values():
            groups.setdefault(self._weights(manifest), []).append(manifest)
        students: dict[str, Answering] = {}
        for base, group in groups.items():
            if self._provide(base, group):
                students |= self._made(base, group)
        for base in set(self._engines) - set(groups):
            # Calls that still run hold what they need.
            self._engines.pop(base).close()
            self._adapters.pop(base, None)
        self._students, self._recent = students, [v for v in wanted if v in students]

    def _weights(self, manifest: Manifest) -> str:
        """The base that an engine loads for a version: its own where it is a whole model."""
        whole = manifest.kind == "model"
        return str(self._register.path(manifest.version) / MODEL_GGUF) if whole else manifest.base

    def _made(self, base: str, group: list[Manifest]) -> dict[str, Answering]:
        engine, most = self._engines[base], self._options.max_tokens
        if isinstance(engine, ChatEndpoint):
            return self._chatting(engine, base, group)
        made: dict[str, Answering] = {m.version: Student.of(m, engine, most) for m in group if m.kind == "adapter"}
        made |= {m.version: Student(m.prompt, engine, max_tokens=most) for m in group if m.kind == "model"}
        return made | ({model_name(base): BareBase(engine, most)} if base in self._options.bases else {})

    def _chatting(self, endpoint: ChatEndpoint, base: str, group: list[Manifest]) -> dict[str, Answering]:
        most, alone = self._options.max_tokens, model_name(base)
        made: dict[str, Answering] = {m.version: ChatStudent(m.version, endpoint, most, m) for m in group}
        return made | ({alone: ChatStudent(alone, endpoint, most)} if base in self._options.bases else {})

    def _provide(self, base: str, group: list[Manifest]) -> bool:
        """Bring the engine of a base up to date with its adapters; False when that failed."""
        adapters = {m.version: self._register.path(m.version) / ADAPTER_GGUF for m in group if m.kind == "adapter"}
        if base in self._engines and self._adapters.get(base) == adapters:
            return True
        if not group and model_name(base) in self._problems:
            return False
        try:
            if base in self._engines:
                self._engines[base].set_adapters(adapters)
            else:
                self._engines[base] = self._make(base, adapters)
        except (TutelageError, MemoryError) as error:
            return self._without_broken(base, group, error)
        self._adapters[base] = adapters
        return True

    def _without_broken(self, base: str, group: list[Manifest], error: Exception) -> bool:
        """The newest version is the suspect: try again without it, so that it cannot take the others down."""
        suspect = group.pop().version if group else model_name(base)
        why = str(error) or type(error).__name__
        self._problems[suspect] = _Problem(why, self._clock() + RETRY_S)
        _log.error("The student version %s cannot be loaded: %s", suspect, why)
        left = group or (base in self._options.bases and suspect != model_name(base))
        return bool(left) and self._provide(base, group)
