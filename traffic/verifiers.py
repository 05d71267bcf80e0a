"""Users' own functions that judge a finished run: `verifiers = ["package.module:function"]`.

    def order_was_booked(run: Trajectory) -> bool | float | None: ...
    order_was_booked.version = "2"     # optional; a new version judges all runs again

They run in a process of their own, one run and one function at a time. Whatever they do (raise, print, hang, eat all
memory) stays there: a function that is late is ended with its process, which is started again for the next one.

The process speaks JSON lines: its functions on the first line, then for each question an answer. It ends when its
standard input does, so it never outlives the one that started it, not even while a function hangs.
"""

import contextlib
import importlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

LOADING_S = 60.0
"""Longest time that the import of all functions may take, in seconds."""
_CHILD = "from tutelage.traffic.verifiers import answer_questions; answer_questions()"


@dataclass(frozen=True)
class Call:
    """One call of a run."""

    call_id: str
    started_at: float
    """Unix seconds."""
    model: str
    route: str
    """Who answered: `teacher` or `student`; `none`: nobody."""
    status: int
    finish_reason: str
    latency_ms: float


@dataclass(frozen=True)
class Trajectory:
    """One run of an agent, as verifiers see it."""

    trajectory_id: str
    messages: list[dict[str, Any]]
    """Messages of the longest branch in OpenAI's form, the last answer included."""
    tools: list[dict[str, Any]]
    """Tools that the newest call offered."""
    calls: list[Call]
    """In order of time, repeated ones included."""


@dataclass(frozen=True)
class Loaded:
    """A function as it was found."""

    name: str
    """`package.module:function`."""
    version: str = ""
    """Its attribute `version` as text; empty when it has none."""
    error: str = ""
    """Why it cannot be used; empty when it can."""


@dataclass(frozen=True)
class Verdict:
    """What a function said of a run."""

    value: bool | float | None = None
    error: str = ""
    """Why it gave no verdict; `value` is None then."""


class Ended(Exception):
    """The process of the functions has ended."""


@dataclass
class Verifiers:
    """The functions, in a process that is started when it is needed. For one thread; `close` may come from another."""

    names: Sequence[str]
    limit_s: float = 10.0
    """Longest time for one run, in seconds."""
    _process: "subprocess.Popen[bytes] | None" = None
    _loaded: list[Loaded] = field(default_factory=list)
    _closed: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock)
    """Protects the process from its user's first line to its last answer; only killing it goes round the lock."""

    def load(self) -> list[Loaded]:
        """The functions, in the order of `names`; imported anew when their process had ended.

        Raises Ended when it ends, or takes longer than `LOADING_S`, while it imports them.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._end()
                command = [sys.executable, "-c", _CHILD]
                self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                found = self._exchange({"names": list(self.names)}, LOADING_S)
                self._loaded = [Loaded(**one) for one in found["loaded"]]
            return self._loaded

    def ask(self, name: str, run: Trajectory) -> Verdict:
        """The verdict of one function. Raises Ended when `close` came in between, or nothing can be loaded."""
        with self._lock:
            self.load()
            try:
                return Verdict(**self._exchange({"name": name, "run": asdict(run)}, self.limit_s))
            except Ended as ended:
                if self._closed:
                    raise
                return Verdict(error=str(ended))

    def restart(self) -> None:
        """Have the functions imported anew by the next `load`."""
        with self._lock:
            self._end()

    def close(self) -> None:
        """End the process, also in the middle of a function."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()  # whoever waits for its answer stops waiting, and lets go of the lock
        with self._lock:
            self._end()

    def _exchange(self, question: dict[str, Any], limit_s: float) -> dict[str, Any]:
        process = self._process
        if self._closed or process is None or process.stdin is None or process.stdout is None:
            self._end()
            raise Ended("It was stopped.")
        late = threading.Event()
        timer = threading.Timer(limit_s, lambda: (late.set(), process.kill()))
        timer.start()
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = b""
        finally:
            timer.cancel()
        if answer.endswith(b"\n"):
            return json.loads(answer)
        self._end()
        code = process.returncode
        raise Ended(f"It took longer than {limit_s:g} s." if late.is_set() else f"Its process ended with code {code}.")

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what was not sent cannot be sent any more
                        pipe.close()
            self._process.wait()
            self._process = None


def answer_questions() -> None:
    """The process's side: never returns but at the end of its standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What the functions print belongs into the log, and not among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(questions,), daemon=True).start()
    functions: dict[str, Callable[[Trajectory], Any]] = {}
    while True:
        question = json.loads(questions.get())
        if "names" in question:
            answer: dict[str, Any] = {"loaded": [asdict(_load(name, functions)) for name in question["names"]]}
        else:
            answer = asdict(_verdict(functions[question["name"]], question["run"]))
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _listen(questions: "queue.SimpleQueue[bytes]") -> None:
    for line in sys.stdin.buffer:
        questions.put(line)
    os._exit(0)


def _load(name: str, functions: dict[str, Callable[[Trajectory], Any]]) -> Loaded:
    module, _, function = name.partition(":")
    if not module or not function:
        return Loaded(name, error="Expected package.module:function.")
    try:
        found = getattr(importlib.import_module(module), function)
    except BaseException as error:  # whatever a module does, even sys.exit
        return Loaded(name, error=f"It cannot be imported: {_told(error)}")
    if not callable(found):
        return Loaded(name, error=f"It is no function but {type(found).__name__}.")
    functions[name] = found
    return Loaded(name, str(getattr(found, "version", "")))


def _verdict(function: Callable[[Trajectory], Any], run: dict[str, Any]) -> Verdict:
    calls = [Call(**call) for call in run.pop("calls")]
    try:
        value = function(Trajectory(**run, calls=calls))
    except BaseException as error:  # the same
        return Verdict(error=f"It raised {_told(error)}")
    if value is None or isinstance(value, bool):
        return Verdict(value)
    if isinstance(value, int | float) and math.isfinite(value):
        return Verdict(float(value))
    return Verdict(error=f"It returned {str(value)[:100]!r}: expected True, False, a finite number, or None.")


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:500]}"
