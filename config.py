"""Settings: one model for the command line, the environment and `tutelage.toml`, in that order of priority.

    # tutelage.toml
    teacher = "https://api.openai.com/v1"
    data = "./tutelage-data"

    [routing]
    epsilon_tools = 0.05

    [prices."gpt-5.6-luna"]
    input = 1.25
    output = 10.0

Environment variables are `TUTELAGE_` and the name, with `__` between section and name
(`TUTELAGE_ROUTING__EPSILON_TOOLS=0.1`). The sections `[proxy]`, `[control]`, `[routing]`, `[serving]` and `[distill]`
take any field of the options class of that part; docs/configuration.md lists them all. Keys are named by their
environment variable, never written down. A relative `data` in the file is relative to the file.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from .distill.options import DistillOptions
from .proxy.options import ControlOptions, DataPlaneOptions, Price, RoutingOptions
from .serving.options import ServingOptions
from .traffic.errors import BadInput
from .traffic.layout import DataDir

DEFAULT_FILE = "tutelage.toml"
OPENAI = "https://api.openai.com/v1"
Section = dict[str, Any]
Options = TypeVar("Options")


class Settings(BaseSettings):
    """Everything a user can set."""

    model_config = SettingsConfigDict(
        env_prefix="TUTELAGE_", env_nested_delimiter="__", extra="forbid", frozen=True, populate_by_name=True
    )

    teacher: str = Field(default_factory=lambda: os.environ.get("OPENAI_BASE_URL") or OPENAI)
    """Base URL of the teacher, with its `/v1`. Default: OPENAI_BASE_URL, else OpenAI."""
    teacher_key_env: str = "OPENAI_API_KEY"
    """Environment variable with the key for audits. Agents' own keys pass through and are never stored."""
    data: Path = Path("tutelage-data")
    """The data folder."""
    host: str = "127.0.0.1"
    """Address of the agents' port. The other ports stay on 127.0.0.1."""
    port: int = 8400
    """The agents' port."""
    control_port: int = 8401
    """Admin API and dashboard."""
    student_port: int = 8402
    """The student server."""
    student_url: str = ""
    """Base URL of a student server that runs elsewhere; empty: `serve` starts one."""
    workers: int = 1
    """Data-plane processes."""
    proxy: Section = {}
    control: Section = {}
    routing: Section = {}
    serving: Section = {}
    distill: Section = {}
    prices: dict[str, Section] = {}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line (init) over environment over file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


@dataclass(frozen=True)
class Config:
    """The settings of one command, and each process's options made from them."""

    settings: Settings

    @property
    def data(self) -> DataDir:
        """The data folder, with an absolute path: processes may have other working directories."""
        return DataDir(self.settings.data.expanduser().resolve())

    @property
    def student_url(self) -> str:
        return self.settings.student_url or f"http://127.0.0.1:{self.settings.student_port}/v1"

    @property
    def data_plane_url(self) -> str:
        host = "127.0.0.1" if self.settings.host in {"0.0.0.0", "::"} else self.settings.host
        return f"http://{host}:{self.settings.port}/v1"

    @property
    def control_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.control_port}"

    def data_plane(self) -> DataPlaneOptions:
        """Options of the agents' port."""
        settings = self.settings
        base: Section = {
            "data": str(self.data.root),
            "teacher_url": settings.teacher.rstrip("/"),
            "host": settings.host,
            "port": settings.port,
            "workers": settings.workers,
            "student_url": self.student_url,
        }
        return _options(DataPlaneOptions, "proxy", base, settings.proxy)

    def control(self) -> ControlOptions:
        """Options of the control plane."""
        settings = self.settings
        base: Section = {
            "data": str(self.data.root),
            "teacher_url": settings.teacher.rstrip("/"),
            "port": settings.control_port,
            "teacher_key_env": settings.teacher_key_env,
            "student_url": self.student_url,
            "data_plane_url": self.data_plane_url,
            "routing": _options(RoutingOptions, "routing", {}, settings.routing),
            "prices": {name: _options(Price, f"prices.{name}", {}, price) for name, price in settings.prices.items()},
        }
        return _options(ControlOptions, "control", base, settings.control)

    def serving(self) -> ServingOptions:
        """Options of the student server."""
        base: Section = {"data": str(self.data.root), "port": self.settings.student_port}
        return _options(ServingOptions, "serving", base, self.settings.serving)

    def distill(self, **chosen: Any) -> DistillOptions:
        """Options of a distillation run; `chosen` are those given on the command line (None: not given)."""
        given = {name: value for name, value in chosen.items() if value is not None}
        return _options(DistillOptions, "distill", {"data": str(self.data.root)}, {**self.settings.distill, **given})


def _options(kind: type[Options], section: str, base: Section, chosen: Section) -> Options:
    """`base` overridden by `chosen` as `kind`. Values from the environment are text, hence the lax conversion."""
    known = [field.name for field in dataclasses.fields(kind)]  # pyright: ignore[reportArgumentType]
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise BadInput(f"Unknown setting {section}.{unknown[0]}. Known in [{section}]: {', '.join(known)}.")
    try:
        return msgspec.convert({**base, **chosen}, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(f"A setting in [{section}] has the wrong form: {error}.") from error


def load(file: Path | None = None, **chosen: Any) -> Config:
    """The settings from `file` (default: ./tutelage.toml if there is one), environment and `chosen` (None: not given).

    Raises BadInput for a missing or broken file, an unknown name or a value of the wrong form.
    """
    path = file or Path(DEFAULT_FILE)
    if file and not file.is_file():
        raise BadInput(f"There is no config file {file}. Create it, or leave --config away to use the defaults.")

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        settings = FromFile(**{name: value for name, value in chosen.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"The setting {name!r} cannot be used: {first['msg']}.") from error
    except ValueError as error:
        raise BadInput(f"{path} is not valid TOML: {error}.") from error
    if (
        path.is_file()
        and "data" not in chosen
        and "TUTELAGE_DATA" not in os.environ
        and not settings.data.is_absolute()
    ):
        settings = settings.model_copy(update={"data": path.parent / settings.data})
    return Config(settings)
