"""What the processes say: lines for people, or JSON objects for machines, one way for all of them.

Invariant: no payload, prompt, key or query of a URL is ever in a line. Our own messages hold none; what libraries say
of requests is kept out by their level, and `Masked` takes anything that looks like a key out of all that is left, also
out of tracebacks.
"""

import json
import logging
import os
import re
import sys
import time
from typing import Any, TextIO

FORMAT_ENV, LEVEL_ENV = "TUTELAGE_LOG_FORMAT", "TUTELAGE_LOG_LEVEL"
CONSOLE, JSON = "console", "json"
FORMATS = (CONSOLE, JSON)
LEVELS = ("debug", "info", "warning", "error")
_QUIET = ("httpx", "httpcore", "urllib3", "opentelemetry", "asyncio")
"""Libraries that name what they ask for: only their warnings are told."""
SERVER: dict[str, Any] = {
    "handlers": {},
    "formatters": {},
    "loggers": {"_granian": {"handlers": [], "level": "WARNING", "propagate": True}},
}
"""For granian's `log_dictconfig`: what it says goes the way of all messages."""
_SECRETS = re.compile(
    r"(?i)(?P<name>(?:api[-_]?key|token|authorization|password|secret)[\"']?\s*[:=]\s*[\"']?(?:bearer\s+)?|\bbearer\s+)"
    r"[^\s\"',;}]+"
    r"|\b(?:sk|pk|xox[a-z]|ghp|hf|gsk)[-_][A-Za-z0-9_-]{8,}"
    r"|(?<=://)[^/@\s]+(?=@)"
    r"|(?<=hooks\.slack\.com/)\S+"
)


def masked(text: str) -> str:
    """The text without anything that looks like a key, a token or a password."""
    return _SECRETS.sub(lambda found: f"{found['name'] or ''}…", text)


class Lines(logging.Formatter):
    """One line for people; a traceback below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class Objects(logging.Formatter):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `message`, `process`, `thread`, and `error` with the
    traceback when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        told: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": masked(record.getMessage()),
            "process": record.process,
            "thread": record.threadName,
        }
        if record.exc_info:
            told["error"] = masked(self.formatException(record.exc_info))
        return json.dumps(told, ensure_ascii=False)


def configure(stream: TextIO | None = None, least: str = "debug") -> None:
    """Set up this process's log by TUTELAGE_LOG_FORMAT and TUTELAGE_LOG_LEVEL; unknown values count as unset.

    `stream`: stderr unless given, which `serve` writes to the file of the process. `least`: the lowest level, whatever
    is set, for a process whose libraries say too much below it.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(Objects() if os.environ.get(FORMAT_ENV, "").lower() == JSON else Lines())
    level = os.environ.get(LEVEL_ENV, "").lower()
    number = LEVELS.index(level) if level in LEVELS else LEVELS.index("info")
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(LEVELS[max(number, LEVELS.index(least))].upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
