"""Which teacher answers for which model.

Every call names a model. An exact name beats a pattern, a pattern beats the default teacher, and among patterns the
first teacher in the order of the settings wins. What was found once is remembered, so a call costs one dictionary
lookup; the memory is bounded, since agents may name whatever they like.

Keys come from environment variables that the settings name. A teacher without one is asked with the agent's own key.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from ..traffic.errors import BadInput
from .options import TeacherOptions

DEFAULT = "default"
RESERVED = (DEFAULT, "student")
"""Names that counters and circuit breakers use already."""
MISSING = "x_tutelage_missing"
"""Field of a merged model list that names the teachers whose lists are not in it."""
_REMEMBERED = 4096
_LONGEST_REMEMBERED = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class TeacherSettings(Protocol):
    """What both planes' options say about teachers."""

    @property
    def teacher_url(self) -> str: ...
    @property
    def teacher_key_env(self) -> str: ...
    @property
    def teacher_model(self) -> str: ...
    @property
    def teachers(self) -> tuple[TeacherOptions, ...]: ...


@dataclass(frozen=True, slots=True)
class Teacher:
    """One upstream that agents' calls go to."""

    name: str
    url: str
    """Base URL with its `/v1`, without a slash at the end."""
    key: str = ""
    """Replaces the agent's key; empty: the agent's own passes through."""
    model: str = ""
    """Asked for instead of the model that the agent named; empty: as named."""
    patterns: tuple[str, ...] = ()
    """Models it answers for; names, or patterns with `*`, `?` and `[…]`. Empty for the default teacher alone."""

    def __repr__(self) -> str:
        """Without the key: this may end up in a log."""
        return f"Teacher({self.name!r}, {shown(self.url)!r})"


class Teachers:
    """All teachers of one proxy; `default` answers for the models that nobody else does."""

    def __init__(self, default: Teacher, others: Iterable[Teacher] = ()) -> None:
        self._default, self._others = default, tuple(others)
        self._exact = {
            model: teacher for teacher in self._others for model in teacher.patterns if not _is_pattern(model)
        }
        self._known = dict(self._exact)

    @classmethod
    def build(cls, settings: TeacherSettings, environ: Mapping[str, str], need_keys: bool = True) -> "Teachers":
        """The teachers of `settings`, with their keys out of `environ`.

        With `need_keys` a key variable that is not set is an error; without, that teacher is asked without a key.
        Raises BadInput for that, and for a URL that is none, a name or a model that two teachers have, a teacher
        without models.
        """
        default = TeacherOptions(DEFAULT, (), settings.teacher_url, settings.teacher_key_env, settings.teacher_model)
        _check_others(settings.teachers)
        made = []
        for options in (default, *settings.teachers):
            check_url(options.url, options.name)
            key = _key(options, environ, need_keys)
            made.append(Teacher(options.name, options.url.rstrip("/"), key, options.model, options.models))
        return cls(made[0], made[1:])

    def of(self, model: str) -> Teacher:
        """The teacher for calls that name `model`; the empty name, of calls that name none, is a name like others."""
        found = self._known.get(model)
        return found if found is not None else self._find(model)

    def every(self) -> tuple[Teacher, ...]:
        """All teachers, the default one first, the others in the order of the settings."""
        return (self._default, *self._others)

    def _find(self, model: str) -> Teacher:
        found = self._default
        for teacher in self._others:
            if any(fnmatchcase(model, pattern) for pattern in teacher.patterns):
                found = teacher
                break
        if len(model) <= _LONGEST_REMEMBERED:
            if len(self._known) >= _REMEMBERED + len(self._exact):
                self._known = dict(self._exact)
            self._known[model] = found
        return found


def check_url(url: str, name: str) -> None:
    """Raises BadInput when `url` cannot be the base URL of the teacher `name`."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable, parts = False, None
    if parts is None or not usable:
        raise BadInput(
            f"The teacher {name!r} has the URL {shown(url)!r}. Expected http:// or https://, a host and the path up to "
            "its /v1, such as https://api.openai.com/v1."
        )
    if parts.query or parts.fragment:
        raise BadInput(
            f"The URL of the teacher {name!r} ends in a query or a fragment. Paths are added to it: leave it away."
        )


def shown(url: str) -> str:
    """`url` without the name and password it may hold."""
    before, _, after = url.rpartition("@")
    scheme, mark, _ = before.partition("://")
    return f"{scheme}{mark}{after}" if mark else url


def merged_models(answers: Mapping[str, bytes]) -> bytes:
    """One OpenAI model list out of the teachers' answers to `GET /v1/models`, by teacher name.

    The order is kept, and of two models with one id the first wins, byte for byte. Teachers whose answer is empty or no
    list of models are named in the field `x_tutelage_missing`, which is there only then.
    """
    found: dict[str, msgspec.Raw] = {}
    missing = []
    for name, answer in answers.items():
        try:
            models = _list.decode(answer).data
            ids = [_named.decode(model).id for model in models]
        except (msgspec.DecodeError, UnicodeDecodeError):
            missing.append(name)
            continue
        for id_, model in zip(ids, models, strict=True):
            found.setdefault(id_, model)
    merged = {"object": "list", "data": list(found.values())}
    return msgspec.json.encode(merged | {MISSING: missing} if missing else merged)


class _Models(msgspec.Struct):
    data: list[msgspec.Raw]


class _Model(msgspec.Struct):
    id: str


_list, _named = msgspec.json.Decoder(_Models), msgspec.json.Decoder(_Model)


def _is_pattern(model: str) -> bool:
    return any(character in model for character in "*?[")


def _check_others(others: Sequence[TeacherOptions]) -> None:
    names: set[str] = set(RESERVED)
    owners: dict[str, str] = {}
    for options in others:
        if not _NAME.fullmatch(options.name):
            raise BadInput(f"A teacher cannot be called {options.name!r}: expected up to 64 letters, digits, _ . or -.")
        if options.name in RESERVED:
            raise BadInput(f"A teacher cannot be called {options.name!r}: the proxy uses that name. Choose another.")
        if options.name in names:
            raise BadInput(f"Two teachers are called {options.name!r}. Give one of them another name.")
        names.add(options.name)
        if not all(options.models) or not options.models:
            raise BadInput(
                f"The teacher {options.name!r} answers for no model. Give it names or patterns in `models`, such as "
                '["claude-*"].'
            )
        for model in options.models:
            if owners.setdefault(model, options.name) != options.name:
                raise BadInput(
                    f"The teachers {owners[model]!r} and {options.name!r} both answer for {model!r}. Leave it with one."
                )


def _key(options: TeacherOptions, environ: Mapping[str, str], needed: bool) -> str:
    if not options.key_env:
        return ""
    key = environ.get(options.key_env, "").strip()
    if not key and needed:
        raise BadInput(
            f"The key of the teacher {options.name!r} is to come from the environment variable {options.key_env}, "
            "which is not set. Set it, or leave `key_env` away to let the agents' own keys pass through."
        )
    if not (key.isascii() and key.isprintable()):
        raise BadInput(f"The key in the environment variable {options.key_env} holds characters that no header can.")
    return key
