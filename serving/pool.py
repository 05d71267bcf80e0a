"""The student versions that are loaded: found in the register, one engine per base, the least used make room.

Loading happens on the thread that asks for it, under one lock: two threads must not build engines for the same change.
Answering needs no lock; it reads the finished table, which is replaced as a whole.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from ..traffic.errors import TutelageError, UnknownName
from ..traffic.layout import DataDir
from ..traffic.students import ADAPTER_GGUF, Manifest, StudentRegister
from .bases import resolve
from .engine import Engine
from .llama import LlamaEngine
from .options import ServingOptions
from .student import Student

MakeEngine = Callable[[str, dict[str, Path]], Engine]
"""Builds an engine for the base of that name with these adapters."""

_log = logging.getLogger(__name__)


def llama_engines(options: ServingOptions) -> MakeEngine:
    """Real engines, as the options say."""

    def make(base: str, adapters: dict[str, Path]) -> Engine:
        gguf = resolve(base).gguf
        return LlamaEngine(gguf, adapters, slots=options.slots, threads=options.threads, context=options.context)

    return make


class Pool:
    """Loaded versions of one data folder."""

    def __init__(self, options: ServingOptions, make_engine: MakeEngine | None = None) -> None:
        self._options = options
        self._make = make_engine or llama_engines(options)
        self._register = StudentRegister(DataDir(Path(options.data)))
        self._engines: dict[str, Engine] = {}
        self._adapters: dict[str, dict[str, Path]] = {}
        self._students: dict[str, Student] = {}
        self._recent: list[str] = []
        self._broken: set[str] = set()
        self._loading = threading.Lock()

    @property
    def versions(self) -> list[str]:
        """Loaded versions."""
        return list(self._students)

    def refresh(self) -> list[str]:
        """Load candidates that are new in the register, the newest last; returns what is loaded then."""
        with self._loading:
            known = [m.version for m in self._register.list() if m.status == "candidate"]
            fresh = [v for v in known if v not in self._recent and v not in self._broken]
            self._load([v for v in self._recent if v in known] + fresh)
        return self.versions

    def get(self, version: str) -> Student:
        """A version, loaded now if it is not. Raises UnknownName."""
        student = self._students.get(version)
        if student is None:
            with self._loading:
                self._register.get(version)
                self._load([*(v for v in self._recent if v != version), version])
            student = self._students.get(version)
        if student is None:
            raise UnknownName(f"The student version {version!r} cannot be loaded; the log says why.")
        if self._recent[-1:] != [version]:
            # Only the order of eviction; a lost race here costs nothing.
            self._recent = [*(v for v in self._recent if v != version), version]
        return student

    def close(self) -> None:
        """Let all engines go."""
        with self._loading:
            for engine in self._engines.values():
                engine.close()
            self._engines, self._students, self._recent = {}, {}, []

    def _load(self, wanted: list[str]) -> None:
        """Make the newest of `wanted` the loaded ones. A version that fails is left out and not tried again."""
        manifests = {v: self._register.get(v) for v in wanted[-self._options.keep :]}
        by_base: dict[str, list[Manifest]] = {}
        for manifest in manifests.values():
            by_base.setdefault(manifest.base, []).append(manifest)
        students: dict[str, Student] = {}
        for base, group in by_base.items():
            if self._provide(base, group):
                engine = self._engines[base]
                students |= {m.version: Student.of(m, engine, self._options.max_tokens) for m in group}
        for base in set(self._engines) - set(by_base):
            # Calls that still run hold what they need.
            self._engines.pop(base).close()
            self._adapters.pop(base, None)
        self._students, self._recent = students, [v for v in wanted if v in students]

    def _provide(self, base: str, group: list[Manifest]) -> bool:
        """Bring the engine of a base up to date with its adapters; False when that failed."""
        adapters = {m.version: self._register.path(m.version) / ADAPTER_GGUF for m in group}
        if base in self._engines and self._adapters.get(base) == adapters:
            return True
        try:
            if base in self._engines:
                self._engines[base].set_adapters(adapters)
            else:
                self._engines[base] = self._make(base, adapters)
        except TutelageError as error:
            return self._without_broken(base, group, error)
        self._adapters[base] = adapters
        return True

    def _without_broken(self, base: str, group: list[Manifest], error: TutelageError) -> bool:
        """The newest version is the suspect: try again without it, so that it cannot take the others down."""
        suspect = group.pop()
        self._broken.add(suspect.version)
        _log.error("The student version %s cannot be loaded: %s", suspect.version, error)
        return bool(group) and self._provide(base, group)
