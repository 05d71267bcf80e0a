"""The proxy's own keys on the request path: who may come in, how often, and for which models.

The control plane publishes `keys.json`: hashes, limits and whether a budget is used up (proxy/key_store.py). Workers
read it as they read the route table: at most one `stat` every 0.2 s, and the last good list stays in use when the
newest is missing or broken, so a dead control plane locks nobody out and lets nobody in.

A call without a key of this form is not the business of this module: its own key passes through to the teacher, unless
the proxy is set to take only its own. What was refused has not counted against the key's rate.
"""

import hashlib
import math
import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from .callers import caller_of, caller_of_key
from .headers import KEYS
from .key_rates import SLOTS, KeyRates
from .key_text import PREFIX, form_fault
from .openai_errors import Problem

NO_RETRY = ("x-should-retry", "false")
"""OpenAI's clients try 429 and 5xx again unless this header says otherwise."""


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One key as the data plane needs it. Times are Unix seconds, 0 means never; amounts of 0 mean no limit."""

    key_id: str
    hash: str
    """SHA-256 of the key, 64 hex digits."""
    slot: Annotated[int, Meta(ge=0, lt=SLOTS)] = 0
    """Its place in the shared file of rates."""
    expires_at: float = 0.0
    revoked_at: float = 0.0
    rate: Annotated[float, Meta(ge=0.0)] = 0.0
    """Calls per minute."""
    burst: Annotated[int, Meta(ge=1)] = 1
    """Calls that may come at once."""
    models: tuple[str, ...] = ()
    """Models it may ask for: names, or patterns with `*` and `?`; empty: all."""
    budget_usd: float = 0.0
    budget_tokens: int = 0
    period: str = "month"
    spent_usd: float = 0.0
    spent_tokens: int = 0
    exhausted: bool = False
    """The budget was used up when the list was written."""
    resets_at: float = 0.0
    """When the budget's period ends: the key is good again from then on, even if nobody writes a new list."""


class KeyTable(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `keys.json`."""

    keys: tuple[KeyEntry, ...] = ()


class Admission(msgspec.Struct, frozen=True):
    """What became of a call's key."""

    caller: str
    """Identifies the caller in log and store: a keyed hash, of the agent's key or of the id of ours."""
    key_id: str = ""
    """The key of this proxy that was accepted; empty: the agent's own key passes through."""
    problem: Problem | None = None
    """Why the call is refused."""
    models: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the call may go on."""
        return self.problem is None

    def refuse_model(self, model: str) -> Problem | None:
        """The refusal of a model that the key may not ask for; to be asked once the body is read.

        A limited key is good for named models only: pass "" for a body that names none, and ask nothing for a request
        without a body.
        """
        if not self.models or any(fnmatchcase(model, pattern) for pattern in self.models):
            return None
        asked = f"the model {model!r}" if model else "a request that names no model"
        message = f"The key {self.key_id} is not good for {asked}. It is good for: {', '.join(self.models)}."
        return Problem(403, "model_not_allowed", message)

    def refuse_teacher(self, teacher_key: str, setting: str) -> Problem | None:
        """The refusal of a call with a key of this proxy to a teacher for which the proxy has no key of its own.

        `teacher_key` is the proxy's key for that teacher, `setting` the name of the setting that would give one.
        """
        if not self.key_id or teacher_key:
            return None
        message = (
            "The key of this proxy was accepted, but the proxy has no key of its own for the teacher, and its keys are "
            f"never sent on. Set {setting} to the name of an environment variable with the teacher's key (any text for "
            "a teacher that asks for none)."
        )
        return Problem(500, "teacher_key_missing", message, "server_error", (NO_RETRY,))


def proxy_key(named: Mapping[str, str]) -> str:
    """The key of this proxy among the headers, whatever word stands before it; empty when there is none."""
    for name in KEYS:
        text = named.get(name)
        if text and PREFIX in text:
            last = text.split()[-1]
            if last.startswith(PREFIX):
                return last
    return ""


class KeyRing:
    """A worker's view of the keys. `admit` is cheap: no disk but a `stat` now and then."""

    def __init__(
        self, path: Path, rates: KeyRates, secret: bytes, require_keys: bool = False, every_s: float = 0.2
    ) -> None:
        self.error = ""
        """Why the newest list could not be read."""
        self._path, self._rates, self._secret = path, rates, secret
        self._require, self._every_s = require_keys, every_s
        self._known: dict[bytes, tuple[KeyEntry, Admission]] | None = None
        self._looked, self._stamp = -math.inf, (0, 0)

    def admit(self, named: Mapping[str, str], now: float) -> Admission:
        """Decide on a call by its headers (names in lower case), at `now` (Unix seconds), and count it."""
        key = proxy_key(named)
        if not key:
            caller = caller_of(named, self._secret)
            return Admission(caller, problem=_key_required()) if self._require else Admission(caller)
        if not 0.0 <= now - self._looked < self._every_s:
            self._looked = now
            self._refresh()
        # By its hash: the text of a key is kept nowhere, not even in memory.
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = self._known.get(digest) if self._known is not None else None
        if found is None:
            return Admission(caller_of(named, self._secret), problem=self._unknown(key))
        entry, admission = found
        problem = _refusal(entry, now)
        if problem is None and entry.rate:
            wait_s = self._rates.take(entry.slot, entry.rate, entry.burst, now)
            problem = _too_fast(entry, wait_s) if wait_s else None
        return admission if problem is None else msgspec.structs.replace(admission, problem=problem)

    def _unknown(self, key: str) -> Problem:
        if self._known is None and self.error:
            message = f"The proxy's list of keys cannot be read: {self.error}. The control plane writes it anew."
            return Problem(503, "keys_unavailable", message, "server_error")
        fault = form_fault(key)
        if fault:
            return _invalid(f"The key is mistyped: {fault}. Copy it again, whole.")
        return _invalid("There is no such key at this proxy. Ask its operator for one (tutelage keys create).")

    def _refresh(self) -> None:
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._stamp:
                table = msgspec.json.decode(self._path.read_bytes(), type=KeyTable)
                self._known = {bytes.fromhex(entry.hash): (entry, self._admission(entry)) for entry in table.keys}
                self._stamp, self.error = stamp, ""
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:  # ValueError: msgspec's, and a hash that is no hex
            self.error = f"{self._path.name}: {error}"

    def _admission(self, entry: KeyEntry) -> Admission:
        return Admission(caller_of_key(entry.key_id, self._secret), entry.key_id, None, entry.models)


def _refusal(entry: KeyEntry, now: float) -> Problem | None:
    """Why a known key is not good at this moment, its rate aside."""
    if entry.revoked_at:
        return _invalid(f"The key {entry.key_id} was revoked on {_date(entry.revoked_at)}.")
    if entry.expires_at and now >= entry.expires_at:
        return _invalid(f"The key {entry.key_id} expired on {_date(entry.expires_at)}.")
    if entry.exhausted and now < entry.resets_at:
        return _exhausted(entry)
    return None


def _invalid(message: str) -> Problem:
    return Problem(401, "invalid_api_key", message)


def _key_required() -> Problem:
    message = (
        f"This proxy asks for a key of its own ({PREFIX}…) in the Authorization header. Its operator makes one with: "
        "tutelage keys create NAME"
    )
    return Problem(401, "key_required", message)


def _exhausted(entry: KeyEntry) -> Problem:
    spent = []
    if entry.budget_usd:
        spent.append(f"{entry.spent_usd:.2f} of {entry.budget_usd:.2f} dollars")
    if entry.budget_tokens:
        spent.append(f"{entry.spent_tokens} of {entry.budget_tokens} tokens")
    message = (
        f"The budget of the key {entry.key_id} for this {entry.period} is used up: {' and '.join(spent)}. "
        f"It begins anew on {_date(entry.resets_at)}."
    )
    return Problem(429, "insufficient_quota", message, "insufficient_quota", (NO_RETRY,))


def _too_fast(entry: KeyEntry, wait_s: float) -> Problem:
    message = (
        f"The key {entry.key_id} may make {entry.rate:g} calls per minute, {entry.burst} of them at once. "
        f"Try again in {_seconds(wait_s)}."
    )
    # After so long all of its burst is there again.
    reset_s = wait_s + 60.0 / entry.rate * (entry.burst - 1)
    headers = (
        ("retry-after", str(math.ceil(wait_s))),
        ("retry-after-ms", str(math.ceil(wait_s * 1000))),
        ("x-ratelimit-limit-requests", f"{entry.rate:g}"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", _seconds(reset_s)),
    )
    return Problem(429, "rate_limit_exceeded", message, "requests", headers)


def _seconds(span: float) -> str:
    """A span as OpenAI's headers write it: 20ms, 1.5s, 6m0s."""
    if span < 1.0:
        return f"{math.ceil(span * 1000)}ms"
    minutes, seconds = divmod(math.ceil(span * 10) / 10, 60)
    return f"{minutes:.0f}m{seconds:g}s" if minutes else f"{seconds:g}s"


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
