"""The data folder: one place that knows what lies where.

DATA/
  secret.key          32 random bytes, mode 0600: keys the hash of callers and the routing salts
  journal/WRITER/     append-only segments, one folder per data-plane worker process
  store.duckdb        the store; only the control plane opens it for writing
  patterns.json       the pattern registry, published for the data plane
  routes.json         the route table, published for the data plane
  admin.token         what the admin API asks for when it listens beyond this machine, mode 0600
  keys.json           the proxy's keys (hashes, rates, budgets), published for the data plane
  rates.bin           how full each key's rate is, shared by the data plane's workers
  callers.bin         which callers the teacher accepted of late, shared by the data plane's workers
  workers/            what each data-plane worker has counted, one small file a process
  students/NAME@DIGEST/   immutable student versions; `manifest.json` is written last
  exports/            snapshots of trajectories that `distill` reads
  runs/               one folder per distillation run: log, progress, report
  intents/            what the sessions of each pattern are about, one file a pattern
  logs/               output of the supervised processes
  control.lock        held by the process that owns the store
  serve.json          what `tutelage serve` runs and where, while it runs
"""

import json
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DataFolderError


@dataclass(frozen=True)
class DataDir:
    """Paths inside one data folder. Building one touches nothing on disk; `prepare` does."""

    root: Path

    @property
    def secret(self) -> Path:
        return self.root / "secret.key"

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    @property
    def store(self) -> Path:
        return self.root / "store.duckdb"

    @property
    def patterns(self) -> Path:
        return self.root / "patterns.json"

    @property
    def routes(self) -> Path:
        return self.root / "routes.json"

    @property
    def admin_token(self) -> Path:
        return self.root / "admin.token"

    @property
    def keys(self) -> Path:
        return self.root / "keys.json"

    @property
    def rates(self) -> Path:
        return self.root / "rates.bin"

    @property
    def callers(self) -> Path:
        return self.root / "callers.bin"

    @property
    def workers(self) -> Path:
        return self.root / "workers"

    @property
    def students(self) -> Path:
        return self.root / "students"

    @property
    def exports(self) -> Path:
        return self.root / "exports"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        return self.root / "control.lock"

    @property
    def serve(self) -> Path:
        return self.root / "serve.json"

    def prepare(self) -> "DataDir":
        """Create the folders and the secret. Raises DataFolderError when the folder cannot be written."""
        try:
            # Prompts and answers lie in here: for its owner alone, unless the folder was there before us.
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in (self.journal, self.workers, self.students, self.exports, self.runs, self.logs):
                path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
            self._create_secret()
        except OSError as error:
            raise DataFolderError(
                f"The data folder {self.root} cannot be used: {error.strerror or error}. "
                "Give it write permission or choose another one with --data."
            ) from error
        return self

    def _create_secret(self) -> None:
        if self.secret.exists():
            return
        # Written under a name of its own and linked: two processes that start at once agree on one key.
        draft = self.root / f".secret-{os.getpid()}-{secrets.token_hex(4)}"
        draft.touch(mode=0o600)
        draft.write_bytes(secrets.token_bytes(32))
        try:
            os.link(draft, self.secret)
        except FileExistsError:
            pass
        finally:
            draft.unlink()

    def read_secret(self) -> bytes:
        """The folder's 32-byte key."""
        return self.secret.read_bytes()


def publish(path: Path, content: bytes) -> None:
    """Replace a file so that readers see the old or the new content, never a part, and it survives a crash."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def publish_json(path: Path, value: Any) -> None:
    """`publish` of a JSON document."""
    publish(path, json.dumps(value, ensure_ascii=False, indent=1).encode())
