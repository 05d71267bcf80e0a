"""LiteLLM's traffic as a log source: `pip install tutelage` beside LiteLLM, and one line in its `config.yaml`.

    litellm_settings:
      callbacks: tutelage.plugins.litellm_logger.logger

LiteLLM calls the methods below after each call. They put a record into a queue, and a thread posts it to the server
named by TUTELAGE_URL: a call never waits for it, and none fails because of it. See docs/litellm.md and `outbox` for
what is kept while the server is away.
"""

import importlib
import logging
import os
from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import Any

from ..traffic.imported import Skip
from .litellm_logger_records import PROXIED, logged_of
from .server import KEY_ENVS, Server, shared

log = logging.getLogger("tutelage.plugins")
SOURCE = "plugin:litellm"
_NO_KEY = "litellm"
"""Shown to the server where TUTELAGE_API_KEY is not set: what is in OPENAI_API_KEY there is a provider's."""


def _custom_logger() -> Any:
    try:
        return importlib.import_module("litellm.integrations.custom_logger").CustomLogger
    except ImportError as error:
        raise ImportError(
            f"Tutelage's logger for LiteLLM runs inside of LiteLLM, which is missing here ({error}). "
            "Install it with: pip install 'tutelage[litellm]'"
        ) from error


_Base = _custom_logger()


class TutelageLogger(_Base):
    """For LiteLLM's proxy and for its library. One is enough for a process; none of its methods raises."""

    def __init__(self, server: str | Server = "", *, api_key: str = "") -> None:
        """server: its base URL, by default TUTELAGE_URL or http://127.0.0.1:8400/v1. api_key: by default
        TUTELAGE_API_KEY. Raises ValueError when `server` is no HTTP URL.
        """
        super().__init__()
        key = api_key or os.environ.get(KEY_ENVS[0], "").strip() or _NO_KEY
        self.server = server if isinstance(server, Server) else shared(server, key, SOURCE)
        self.skipped: Counter[str] = Counter()
        """Calls that were not recorded, by the reason."""
        self._lock = Lock()  # protects `skipped`; success callbacks run in threads of LiteLLM

    def log_success_event(self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call of the library has been answered."""
        self._take(kwargs, response_obj)

    def log_failure_event(self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any) -> None:
        """It has failed."""
        self._take(kwargs, None)

    async def async_log_success_event(
        self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """The same for asynchronous calls, which all calls of LiteLLM's proxy are."""
        self._take(kwargs, response_obj)

    async def async_log_failure_event(
        self, kwargs: Mapping[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """The same."""
        self._take(kwargs, None)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all is delivered; False when that took longer than `timeout` seconds."""
        return self.server.flush(timeout)

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Deliver what waits and end; False when something was left after `timeout` seconds."""
        return self.server.shutdown(timeout)

    def _take(self, told: Mapping[str, Any], answer: Any) -> None:
        try:
            found = logged_of(told, answer)
            if isinstance(found, Skip):
                self._skip(found.reason)
            else:
                self.server.record(found)
        except Exception as error:
            self._skip(f"the logger failed with {type(error).__name__}", exc_info=True)

    def _skip(self, reason: str, exc_info: bool = False) -> None:
        with self._lock:
            self.skipped[reason] += 1
            first = self.skipped[reason] == 1
        if first and reason != PROXIED.reason:
            log.warning("Tutelage: a call of LiteLLM is not recorded: %s.", reason, exc_info=exc_info)


def __getattr__(name: str) -> TutelageLogger:
    """`logger`, which `config.yaml` names: made when LiteLLM asks for it, with the settings of the environment."""
    if name != "logger":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = globals()["logger"] = TutelageLogger()
    return made
