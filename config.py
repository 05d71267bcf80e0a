"""Settings: one model for the command line, the environment and `tutelage.toml`, in that order of priority.

    # tutelage.toml
    teacher = "https://api.openai.com/v1"
    data = "./tutelage-data"

    [routing]
    epsilon_tools = 0.05

    [teachers.claude]
    models = ["claude-*"]
    litellm = "anthropic/claude-sonnet-4-5"

    [prices."gpt-5.6-luna"]
    input = 1.25
    output = 10.0

Environment variables are `TUTELAGE_` and the name, with `__` between section and name
(`TUTELAGE_ROUTING__EPSILON_TOOLS=0.1`). The sections `[proxy]`, `[control]`, `[routing]`, `[judge]`, `[store]`,
`[outcomes]`, `[telemetry]`, `[serving]`, `[distill]` and `[scrub]` take any field of the options class of that part;
docs/configuration.md lists them all. Keys are named by their environment variable, never written down. A relative
`data` in the file is relative to the file.
"""

import dataclasses
import os
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from .distill.options import DistillOptions, ScheduleOptions
from .distill.schedule import check as check_schedule
from .plugins.litellm_options import BRIDGE_KEY_ENV, BridgeModel, BridgeOptions, is_litellm_name
from .proxy.options import (
    ControlOptions,
    DataPlaneOptions,
    JudgeOptions,
    Price,
    RoutingOptions,
    StoreOptions,
    TeacherOptions,
    TelemetryOptions,
)
from .serving.options import LOCAL, ServingOptions
from .settings_sources import listed
from .traffic.errors import BadInput
from .traffic.layout import DataDir
from .traffic.outcome_rules import OutcomeRules
from .traffic.scrub_rules import ScrubRules
from .traffic.teacher_terms import Distillable, TeacherTerms
from .traffic.tool_policy import ToolRule

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
    """Base URL of the teacher, with its `/v1`; or a model's name in LiteLLM's form, `provider/model`, for one that does
    not speak OpenAI's protocol (see [teachers](teachers.md)). Default: OPENAI_BASE_URL, else OpenAI."""
    teacher_key_env: str = "OPENAI_API_KEY"
    """Environment variable with the key for audits. Agents' own keys pass through and are never stored. For a teacher
    that is reached through LiteLLM: the variable with its key, for all calls; where LiteLLM always looks unless set."""
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
    bridge_port: int = 8403
    """The teacher bridge, which runs when a teacher is reached through LiteLLM."""
    workers: int = 1
    """Data-plane processes."""
    log_format: Literal["console", "json"] = "console"
    """How the processes write their logs: lines for people, or `json`, an object a line."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is less important is left out of the logs."""
    autopilot: bool = False
    """Whether `serve` trains students by itself; `[schedule]` says when (see [students](students.md))."""
    verifiers: tuple[str, ...] = ()
    """Your functions that judge finished runs, each `package.module:function` (see [feedback](feedback.md))."""
    proxy: Section = {}
    control: Section = {}
    routing: Section = {}
    store: Section = {}
    outcomes: Section = {}
    serving: Section = {}
    distill: Section = {}
    schedule: Section = {}
    prices: dict[str, Section] = {}
    teachers: dict[str, Section] = {}
    judge: Section = {}
    tools: dict[str, Section] = {}
    telemetry: Section = {}
    scrub: Section = {}

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
class TeacherSection:
    """A teacher beside the default one."""

    models: tuple[str, ...]
    """Models that it answers for: names, or patterns with `*` and `?`. Names beat patterns; the first pattern wins."""
    url: str = ""
    """Base URL with its `/v1`. Beside `litellm`: the address of the provider's API, where it is not the usual one."""
    litellm: str = ""
    """LiteLLM's name of the model, `provider/model`, for a teacher that does not speak OpenAI's protocol."""
    key_env: str = ""
    """Environment variable with the key that replaces the agent's; empty: the agent's own key passes through, or with
    `litellm`, the key is taken from where LiteLLM always looks."""
    model: str = ""
    """Model to ask for instead of the one that the agent named; empty: as named. Not beside `litellm`."""
    distillable: Distillable = "unknown"
    """Whether its terms allow training on its outputs: `yes`, `no` (never learnt from), `unknown` (with a warning)."""


@dataclass(frozen=True)
class Config:
    """The settings of one command, and each process's options made from them."""

    settings: Settings
    file: Path | None = None
    """The file that was read; None without one."""
    chosen: frozenset[str] = frozenset()
    """Names of settings that were given on the command line."""

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

    @property
    def bridge_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.bridge_port}/v1"

    def teacher(self) -> TeacherOptions:
        """The default teacher as the data plane sees it."""
        settings, name = self.settings, self.settings.teacher
        chosen = {key: settings.proxy.get(f"teacher_{key}", "") for key in ("key_env", "model")}
        if "://" in name:
            return TeacherOptions("default", (), name.rstrip("/"), **chosen)
        if not is_litellm_name(name):
            raise BadInput(
                f"The teacher {name!r} is neither a URL nor a LiteLLM model name. Expected http:// or https:// with a "
                "host and the path up to /v1, or provider/model, such as anthropic/claude-sonnet-4-5."
            )
        if chosen["model"]:
            raise BadInput(f"proxy.teacher_model cannot be set beside teacher = {name!r}, which names the model.")
        return TeacherOptions("default", (), self.bridge_url, BRIDGE_KEY_ENV, name)

    def teachers(self) -> tuple[TeacherOptions, ...]:
        """The other teachers, in the order of the settings."""
        made = []
        for name, section in self._sections().items():
            if section.litellm:
                made.append(TeacherOptions(name, section.models, self.bridge_url, BRIDGE_KEY_ENV, section.litellm))
            else:
                made.append(TeacherOptions(name, section.models, section.url, section.key_env, section.model))
        return tuple(made)

    def bridge(self) -> BridgeOptions | None:
        """Options of the teacher bridge; None when no teacher needs it."""
        models = [BridgeModel(s.litellm, s.url, s.key_env) for s in self._sections().values() if s.litellm]
        if self.teacher().url == self.bridge_url:
            named = "teacher_key_env" in self.settings.model_fields_set
            key_env = self.settings.proxy.get("teacher_key_env") or (self.settings.teacher_key_env if named else "")
            models.insert(0, BridgeModel(self.settings.teacher, key_env=key_env))
        models = list(dict.fromkeys(models))
        for first, second in combinations(models, 2):
            if first.name == second.name:
                raise BadInput(f"Two teachers reach {first.name} through LiteLLM with different settings. Keep one.")
        return BridgeOptions(tuple(models), port=self.settings.bridge_port) if models else None

    def _sections(self) -> dict[str, TeacherSection]:
        made = {}
        for name, chosen in self.settings.teachers.items():
            section = made[name] = _options(TeacherSection, f"teachers.{name}", {}, chosen)
            if not (section.url or section.litellm):
                raise BadInput(f"Say where teachers.{name} is: set `url` to its base URL, or `litellm` to its model.")
            if section.litellm and section.model:
                raise BadInput(f"teachers.{name} has `litellm`, which names the model already: leave `model` away.")
            if section.litellm and not is_litellm_name(section.litellm):
                raise BadInput(f"teachers.{name}.litellm is {section.litellm!r}: expected LiteLLM's provider/model.")
        return made

    def data_plane(self) -> DataPlaneOptions:
        """Options of the agents' port."""
        settings, teacher = self.settings, self.teacher()
        base: Section = {
            "data": str(self.data.root),
            "host": settings.host,
            "port": settings.port,
            "workers": settings.workers,
            "student_url": self.student_url,
            "teacher_url": teacher.url,
            "teacher_key_env": teacher.key_env,
            "teacher_model": teacher.model,
            "teachers": self.teachers(),
        }
        # With the bridge, [proxy] teacher_key_env is the bridge's: see `bridge`.
        taken = {"teacher_key_env"} if teacher.url == self.bridge_url else set()
        chosen = {name: value for name, value in settings.proxy.items() if name not in taken}
        return _options(DataPlaneOptions, "proxy", base, chosen)

    def control(self) -> ControlOptions:
        """Options of the control plane."""
        settings, teacher = self.settings, self.teacher()
        base: Section = {
            "data": str(self.data.root),
            "teacher_url": teacher.url,
            "port": settings.control_port,
            "teacher_key_env": teacher.key_env if teacher.url == self.bridge_url else settings.teacher_key_env,
            "teacher_model": teacher.model,
            "teachers": self.teachers(),
            "student_url": self.student_url,
            "data_plane_url": self.data_plane_url,
            "routing": _options(RoutingOptions, "routing", {}, settings.routing),
            "store": _options(StoreOptions, "store", {}, settings.store),
            "outcomes": _options(OutcomeRules, "outcomes", {}, settings.outcomes),
            "verifiers": settings.verifiers,
            "prices": {name: _options(Price, f"prices.{name}", {}, price) for name, price in settings.prices.items()},
            "judge": _options(JudgeOptions, "judge", {}, settings.judge),
            "telemetry": _options(TelemetryOptions, "telemetry", {}, settings.telemetry),
            "scrub": self.scrub(),
            "tools": {name: _options(ToolRule, f"tools.{name}", {}, rule) for name, rule in settings.tools.items()},
        }
        options = _options(ControlOptions, "control", base, settings.control)
        return dataclasses.replace(options, settings=listed(self, options))

    def serving(self) -> ServingOptions:
        """Options of the student server."""
        base: Section = {"data": str(self.data.root), "port": self.settings.student_port}
        return _options(ServingOptions, "serving", base, self.settings.serving)

    def schedule(self) -> ScheduleOptions:
        """When to train by itself. Raises BadInput for a window that is none."""
        return check_schedule(_options(ScheduleOptions, "schedule", {}, self.settings.schedule))

    def distill(self, **chosen: Any) -> DistillOptions:
        """Options of a distillation run; `chosen` are those given on the command line (None: not given)."""
        given = {name: value for name, value in chosen.items() if value is not None}
        base = {"data": str(self.data.root), "scrub": self.scrub(), "teachers": self.terms()}
        if (engine := self.serving().engine) in LOCAL:
            base["engine"] = engine
        return _options(DistillOptions, "distill", base, {**self.settings.distill, **given})

    def scrub(self) -> ScrubRules:
        """What is personal data. Raises BadInput for rules that cannot be."""
        return _options(ScrubRules, "scrub", {}, self.settings.scrub).checked()

    def terms(self) -> tuple[TeacherTerms, ...]:
        """What the other teachers' terms say about training on their answers."""
        return tuple(TeacherTerms(name, one.models, one.distillable) for name, one in self._sections().items())


def _options(kind: type[Options], section: str, base: Section, chosen: Section) -> Options:
    """`base` overridden by `chosen` as `kind`. Values from the environment are text, hence the lax conversion."""
    types = {field.name: field.type for field in msgspec.inspect.type_info(kind).fields}  # pyright: ignore[reportAttributeAccessIssue]
    known = list(types)
    unknown = sorted(set(chosen) - set(known))
    if unknown:
        raise BadInput(f"Unknown setting {section}.{unknown[0]}. Known in [{section}]: {', '.join(known)}.")
    read = {name: _read(value, types[name]) for name, value in chosen.items()}
    try:
        return msgspec.convert({**base, **read}, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(f"A setting in [{section}] has the wrong form: {error}.") from error


def _read(value: Any, kind: msgspec.inspect.Type) -> Any:
    """A list or table that the environment gave as JSON; anything else as it is."""
    if not isinstance(value, str) or isinstance(kind, msgspec.inspect.StrType) or not value.startswith(("[", "{")):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value


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
    given = frozenset(name for name, value in chosen.items() if value is not None)
    return Config(settings, path if path.is_file() else None, given)
