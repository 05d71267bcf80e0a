"""Settings of the two planes. Each process gets its own as JSON in the environment variable TUTELAGE_OPTIONS."""

import os
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import msgspec

from ..traffic.outcome_rules import OutcomeRules
from ..traffic.tool_policy import ToolRule

Options = TypeVar("Options")
ENVIRONMENT = "TUTELAGE_OPTIONS"


@dataclass(frozen=True)
class TeacherOptions:
    """A teacher beside the default one."""

    name: str = ""
    """Its name in reasons and counters; the section's name unless given."""
    models: tuple[str, ...] = ()
    """Models that it answers for: names, or patterns with `*` and `?`. The first teacher that fits is taken."""
    url: str = ""
    """Base URL with its `/v1`."""
    key_env: str = ""
    """Environment variable whose key replaces the agent's; empty: the agent's own key passes through."""
    model: str = ""
    """Model to ask for instead of the one that the agent named; empty: as named."""


@dataclass(frozen=True)
class DataPlaneOptions:
    """The agents' port."""

    data: str
    """The data folder."""
    teacher_url: str
    """Base URL of the teacher, with its `/v1`."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8400
    """Port to listen on."""
    workers: int = 1
    """Worker processes; each has its own journal segments."""
    teacher_key_env: str = ""
    """Name of the environment variable whose key replaces the agent's; empty: the agent's own key passes through."""
    teacher_model: str = ""
    """Model to ask the teacher for instead of the one that the agent named; empty: as named."""
    teachers: tuple[TeacherOptions, ...] = ()
    """More teachers, by model."""
    student_url: str = "http://127.0.0.1:8402/v1"
    require_keys: bool = False
    """Only keys of this proxy (`sk-tu-…`) are let in."""
    max_body_bytes: int = 32 * 1024 * 1024
    """Larger request bodies are refused with 413."""
    max_header_bytes: int = 64 * 1024
    """Request heads beyond about this size are refused with 431."""
    max_concurrent: int = 2000
    """Calls in progress in one worker; more are refused with 503 and a `retry-after`."""
    request_timeout_s: float = 60.0
    """Longest an agent may take to send its request, in seconds."""
    connect_timeout_s: float = 5.0
    """Longest wait for a connection to an upstream, in seconds."""
    head_timeout_s: float = 600.0
    """Longest wait for the head of the teacher's answer, in seconds."""
    read_timeout_s: float = 600.0
    """Longest silence of the teacher within an answer, in seconds."""
    total_timeout_s: float = 3600.0
    """Longest time for one answer of the teacher, in seconds."""
    ca_file: str = ""
    """File of certificates (PEM) that upstreams are trusted by, beside the system's."""
    http2: bool = False
    """Speak HTTP/2 to upstreams that offer it over TLS. A call that is cancelled before its answer begins then runs on
    at the upstream, so this is for upstreams that insist on it."""
    retries: int = 2
    """Further attempts where a call certainly did not reach the teacher: no connection could be made."""
    retry_budget: float = 0.1
    """Further attempts as a share of all calls, so that a failing teacher is not flooded."""
    breaker_failures: int = 10
    """Failures to reach an upstream within `breaker_window_s` that stop calls to it."""
    breaker_window_s: float = 10.0
    """Failures are counted over so many seconds."""
    breaker_pause_s: float = 5.0
    """So long calls are refused (teacher) or go to the teacher (student), in seconds; then one is let through."""
    student_timeout_s: float = 20.0
    """Longest wait for the student's answer before the call falls open to the teacher, in seconds."""
    caller_memory_s: float = 3600.0
    """A caller may be served by the student for this long after the teacher last accepted its key, in seconds."""
    intake: bool = True
    """Take records of calls that agents made elsewhere (`POST /v1/tutelage/records`). Who posts them says what the
    teacher answered: ask for keys (`require_keys`) where not all who can reach the port are trusted."""
    journal_sync: str = "interval"
    """`interval`: fdatasync at most every 50 ms; `always`: each batch; `os`: left to the system."""


@dataclass(frozen=True)
class RoutingOptions:
    """Numbers of the gate, the ramp and the guard; symbols as in docs/guarantees.md."""

    epsilon_tools: float = 0.05
    """Risk limit of patterns that offer tools, in (0, 1)."""
    epsilon_text: float = 0.10
    """Risk limit of patterns without tools, in (0, 1)."""
    alpha: float = 0.05
    """Probability of a false promotion, in (0, 1)."""
    session_idle_s: float = 1800.0
    """A session is over after this many seconds without a call."""
    session_loss: str = "mean"
    """Loss of a session: `mean` or `max` of its calls' losses."""
    ramp: tuple[float, ...] = (0.10, 0.20, 0.40, 0.80)
    """Canary shares."""
    ramp_sessions: int = 25
    """Audited sessions on each canary step."""
    carry_over_sessions: int = 50
    """Clean audited canary sessions after which a single-turn pattern's shadow evidence counts for live."""
    audit_share: float = 0.05
    """Share of live sessions that the teacher audits."""
    audit_min_per_day: int = 20
    """Audits a day and pattern before the share applies."""
    audit_warn_factor: float = 10.0
    """The audit share is multiplied by this while the guard warns."""
    guard_warn: float = 30.0
    """Detector level (see docs/guarantees.md) at which more is audited."""
    guard_demote: float = 1e4
    """Detector level at which the student loses the pattern."""
    epsilon_invalid: float = 0.01
    """Limit of the detector on invalid output and fallbacks."""
    cooldown_sessions: int = 500
    """Sessions of a pattern that a demoted or blocked version waits in quarantine."""
    shadow_per_day: int = 20_000
    """Budget of shadowed calls a day."""


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens."""

    input: float
    """Dollars per million prompt tokens."""
    output: float
    """Dollars per million completion tokens."""


_LIMIT = msgspec.Meta(ge=0)
"""0 is no limit."""


@dataclass(frozen=True)
class PatternStoreOptions:
    """How much of one pattern is kept."""

    keep_days: Annotated[float, _LIMIT] = 0.0
    """In place of the general rule: runs of the pattern whose last call is older are removed; 0: none for their age."""
    max_bytes: Annotated[int, _LIMIT] = 0
    """Content of the pattern's calls; what they share with others counts too. 0: no limit."""


@dataclass(frozen=True)
class StoreOptions:
    """How much of the traffic is kept; the oldest runs are removed first, at most hourly. See [the store](store.md)."""

    keep_days: Annotated[float, _LIMIT] = 0.0
    """Runs whose last call is older are removed, in days; 0: none for their age."""
    max_bytes: Annotated[int, _LIMIT] = 0
    """Content of the store: texts as they are before compression, several times the size of the file. 0: no limit."""
    per_pattern: dict[str, PatternStoreOptions] = field(default_factory=dict)
    """Rules by pattern id, agent id or name: `[store.per_pattern.NAME]` with `keep_days` and `max_bytes`."""


@dataclass(frozen=True)
class ControlOptions:
    """The control plane: owner of the store."""

    data: str
    teacher_url: str
    """Base URL of the teacher, for audits."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8401
    """Port to listen on."""
    teacher_key_env: str = "OPENAI_API_KEY"
    """Environment variable with the key for audits: the agents' keys are never stored."""
    teacher_model: str = ""
    """Model to ask the teacher for instead of the logged one; empty: as logged."""
    teachers: tuple[TeacherOptions, ...] = ()
    """More teachers, by model."""
    student_url: str = "http://127.0.0.1:8402/v1"
    data_plane_url: str = "http://127.0.0.1:8400/v1"
    """Shown on the dashboard."""
    tick_s: float = 0.1
    """Pause between two rounds of ingest, in seconds."""
    shadow_concurrency: int = 4
    """Shadowed and audited calls at the same time."""
    shadow_timeout_s: float = 60.0
    """Longest wait for one shadowed or audited answer, in seconds."""
    routing: RoutingOptions = field(default_factory=RoutingOptions)
    prices: dict[str, Price] = field(default_factory=dict)
    """Price by model name; beats the table that comes with the package. A model in neither has an unknown price, never
    zero."""
    tools: dict[str, ToolRule] = field(default_factory=dict)
    """How calls of a tool are compared, by the tool's name."""
    store: StoreOptions = field(default_factory=StoreOptions)
    """How much of the traffic is kept."""
    outcomes: OutcomeRules | None = None
    """What a success is; None: as the last time that it was said."""
    verifiers: tuple[str, ...] = ()
    """Functions that judge runs, `package.module:function`."""
    verifier_limit_s: float = 10.0
    """Longest time that a verifier may take for one run, in seconds."""


def from_environment(kind: type[Options]) -> Options:
    """The options in TUTELAGE_OPTIONS. Raises msgspec.ValidationError when they don't fit `kind`."""
    return msgspec.json.decode(os.environ[ENVIRONMENT], type=kind)


def to_environment(options: object) -> dict[str, str]:
    """The current environment with `options` added for a child process."""
    return {**os.environ, ENVIRONMENT: msgspec.json.encode(options).decode()}
