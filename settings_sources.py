"""Every setting in force with where its value comes from: command line, environment, file, another setting, default.

Keys are never among them, for settings name the environment variable of a key; a password inside a URL is masked.
"""

import dataclasses
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .proxy.options import ControlOptions, Setting

if TYPE_CHECKING:
    from .config import Config

_PASSWORD = re.compile(r"(?<=://)[^/@\s]*@")
_INSIDE = ("routing", "store", "outcomes", "judge", "telemetry")
"""Parts of the control plane's options that are sections of their own."""
_LISTED_ELSEWHERE = ("settings", "prices", "verifiers", "tools", *_INSIDE)


def listed(config: "Config", control: ControlOptions) -> tuple[Setting, ...]:
    """All settings; `control` are the options that were made from them."""
    sections: dict[str, Any] = {name: getattr(control, name) for name in _INSIDE}
    sections |= {"proxy": config.data_plane(), "control": control, "serving": config.serving()}
    sections |= {"schedule": config.schedule(), "distill": config.distill()}
    told = _Told(config.file, config.chosen)
    return (*_top(config, told), *(one for name, part in sections.items() for one in _section(name, part, told)))


@dataclasses.dataclass(frozen=True)
class _Told:
    """What was said, and where."""

    file: Path | None
    chosen: frozenset[str]
    """Names given on the command line."""

    def source(self, name: str) -> str:
        """Where a setting was given; empty when nowhere."""
        variable = "TUTELAGE_" + name.replace(".", "__").upper()
        if name in self.chosen:
            return "command line"
        if variable in os.environ:
            return f"environment {variable}"
        return str(self.file) if self.file and _in_file(self.file, name) else ""


def _in_file(path: Path, name: str) -> bool:
    place: Any = tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for part in name.split("."):
        if not isinstance(place, Mapping) or part not in place:
            return False
        place = place[part]
    return True


def _top(config: "Config", told: _Told) -> Iterator[Setting]:
    sections = {"proxy", "control", "serving", "distill", "schedule", "tools", "prices", "teachers", *_INSIDE}
    for name, value in config.settings:
        if name not in sections:
            fallback = "OPENAI_BASE_URL" if name == "teacher" and os.environ.get("OPENAI_BASE_URL") else "default"
            yield Setting(name, shown(name, value), told.source(name) or fallback)


def _section(section: str, options: Any, told: _Told) -> Iterator[Setting]:
    if not dataclasses.is_dataclass(options):
        return
    for field in dataclasses.fields(options):
        if section == "control" and field.name in _LISTED_ELSEWHERE:
            continue
        name, value = f"{section}.{field.name}", getattr(options, field.name)
        source = told.source(name) or ("default" if _is_default(field, value) else "another setting")
        yield Setting(name, shown(name, value), source)


def _is_default(field: "dataclasses.Field[Any]", value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return value == field.default_factory()
    return value == field.default


def shown(name: str, value: Any) -> str:
    """A value as text. Of a key's variable it is told whether it is set, never what it holds."""
    if name.endswith("key_env") and value:
        return f"{value} ({'set' if os.environ.get(str(value)) else 'not set'})"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return _PASSWORD.sub("…@", str(value)) if value not in ("", None) else "–"
