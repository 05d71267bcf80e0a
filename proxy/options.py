"""Settings of the two planes. Each process gets its own as JSON in the environment variable TUTELAGE_OPTIONS."""

import os
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from ..traffic.outcome_rules import OutcomeRules
from ..traffic.scrub_rules import ScrubRules
from ..traffic.tool_policy import ToolRule

Options = TypeVar("Options")
ENVIRONMENT = "TUTELAGE_OPTIONS"
PhraseLanguage = Literal["en", "de", "fr", "es", "it", "pt", "nl", "pl", "ja", "zh"]


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
    """Take records of calls that agents made elsewhere (`POST /v1/tutelage/records`, `POST /v1/traces`). Who posts them
    says what the teacher answered: ask for keys (`require_keys`) where not all who can reach the port are trusted."""
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
    futility_alpha: float = 0.01
    """Probability of giving up a student that is good enough, in (0, 1)."""
    session_idle_s: float = 1800.0
    """A session is over after this many seconds without a call."""
    session_loss: str = "mean"
    """Loss of a session: `mean` or `max` of its calls' losses."""
    ramp: tuple[float, ...] = (
        0.10, 0.12, 0.13, 0.15, 0.17, 0.20, 0.23, 0.27, 0.31, 0.36, 0.41, 0.47, 0.54, 0.62, 0.71, 0.80,
    )  # fmt: skip
    """Canary shares. Several are skipped at once where the evidence allows it."""
    ramp_sessions: int = 5
    """Fewest audited sessions on the first canary share before it rises."""
    carry_over_sessions: int = 50
    """Clean audited canary sessions after which a single-turn pattern's shadow evidence counts for live."""
    audit_share: float = 0.0125
    """Share of live sessions that the teacher audits."""
    audit_min_per_day: int = 20
    """Audits a day and pattern before the share applies."""
    audit_warn_factor: float = 100.0
    """The audit share is multiplied by this while the guard warns."""
    guard_warn: float = 0.0
    """Detector level (see docs/guarantees.md) at which more is audited; 0: at the first loss after calm."""
    guard_demote: float = 1e4
    """Detector level at which the student loses the pattern."""
    epsilon_invalid: float = 0.01
    """Limit of the detector on invalid output and fallbacks."""
    cooldown_sessions: int = 500
    """Sessions of a pattern that a demoted or blocked version waits in quarantine."""
    shadow_per_day: int = 20_000
    """Budget of shadowed calls a day."""
    confidence_alpha: float = 0.1
    """Share of the error budget for confidence thresholds: serving only what the student is sure of, where it cannot
    be promoted whole; in [0, 1), 0: none."""
    confidence_sessions: int = 2000
    """A student that is too risky as a whole is shadowed for at most so many sessions in search of a safe part, and
    looked at whole in at most so many in search of a larger one."""
    loosen_share: float = 0.1
    """Share of the sessions that are looked at whole, the answers below the threshold too, while a version is live with
    a confidence threshold and a looser one may still prove itself; in [0, 1], 0: the threshold stays."""
    exposure_share: float = 0.5
    """Before proof, the worst harm that the evidence still allows is at most this share of the risk limit."""
    null_missed: float = 0.2
    """Limit for how often the student does something where the teacher does nothing; see docs/guarantees.md."""
    null_excess: float = 0.02
    """Limit for how often the student does nothing where the teacher does something."""
    silent_calls: int = 50
    """Calls in a row without any answer after which the student loses the pattern."""
    challenger_share: float = 0.2
    """Share of a live version's sessions that the teacher audits while a newer version is in shadow behind it."""


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
class Setting:
    """One setting in force, for the dashboard."""

    name: str
    value: str
    """As text; no key and no password is ever in it."""
    source: str
    """`command line`, `environment NAME`, the file's path, `another setting` that it follows, or `default`."""


@dataclass(frozen=True)
class JudgeOptions:
    """A model that decides on pairs where the comparison rules are unsure. See [comparison](comparison.md)."""

    url: str = ""
    """Base URL of an OpenAI-compatible endpoint, with its `/v1`; empty: there is no judge, unsure pairs are losses."""
    model: str = ""
    """Model to ask."""
    key_env: str = ""
    """Environment variable with its key; empty: none is sent."""
    extra: dict[str, Any] = field(default_factory=dict)
    """More fields of the request body, such as `temperature` or `reasoning_effort`. They are part of its version."""
    questions_per_day: Annotated[int, _LIMIT] = 2000
    """Questions a UTC day, two for each pair; 0: no limit."""
    tokens_per_day: Annotated[int, _LIMIT] = 0
    """Tokens a UTC day, prompts and answers together; 0: no limit."""
    usd_per_day: Annotated[float, _LIMIT] = 0.0
    """Dollars a UTC day, by `[prices]`; 0: no limit. With a limit, a model without a price is not asked."""
    concurrency: int = 2
    """Pairs in question at the same time."""
    timeout_s: float = 120.0
    """Longest wait for one answer, in seconds."""
    wait_s: float = 86_400.0
    """A session is held back for its judge so long at most, in seconds; then its unsure pairs count as losses."""
    backlog_s: float = 604_800.0
    """Older pairs are not judged any more, in seconds."""
    context_chars: int = 8000
    """Characters of the conversation that it is shown; of a longer one, beginning and end."""
    anchors: int = 200
    """Newest unsure pairs with a person's verdict by which each version of the judge is measured."""
    review_share: float = 0.05
    """Share of sessions with pairs that the judge has accepted that people are asked to look at, in [0, 1]."""


@dataclass(frozen=True)
class TelemetryOptions:
    """What other systems are told. See [metrics](metrics.md)."""

    patterns: Annotated[int, _LIMIT] = 100
    """Patterns with a label of their own in the metrics; later ones count under `other`."""
    webhook_env: str = "TUTELAGE_WEBHOOK_URL"
    """Environment variable with the URL that alerts are posted to, in the form that Slack takes; unset: none are."""
    webhook_repeat_s: float = 900.0
    """The same alert is not sent again for so long, in seconds."""
    otlp_url: str = ""
    """Base URL of an OpenTelemetry collector that speaks OTLP over HTTP, such as `http://127.0.0.1:4318`; empty: no
    traces. Needs `tutelage[otel]`."""
    otlp_headers_env: str = ""
    """Environment variable with headers for the collector, `name=value,name=value`."""


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
    shadow_per_second: Annotated[float, _LIMIT] = 0.0
    """Shadowed calls begun in a second; 0: as many as `shadow_concurrency` allows."""
    noise_share: float = 0.02
    """Share of shadowed sessions whose calls the teacher is asked again, to see how far it agrees with itself. All of
    them where a student looks too risky, for then it matters; 0: never."""
    noise_per_day: int = 500
    """Calls a UTC day that the teacher is asked again for that."""
    noise_margin: float = 0.05
    """δ: how much worse than the teacher's own second answer a student may be, in (0, 1)."""
    shadow_timeout_s: float = 60.0
    """Longest wait for one shadowed or audited answer, in seconds."""
    routing: RoutingOptions = field(default_factory=RoutingOptions)
    prices: dict[str, Price] = field(default_factory=dict)
    """Price by model name; beats the table that comes with the package. A model in neither has an unknown price, never
    zero."""
    training_usd_hour: float | None = None
    """Dollars for an hour of training: the machine's. Unknown unless given, and then so is what a student has
    brought after its training; 0 is allowed."""
    judge: JudgeOptions = field(default_factory=JudgeOptions)
    """The judge."""
    tools: dict[str, ToolRule] = field(default_factory=dict)
    """How calls of a tool are compared, by the tool's name."""
    store: StoreOptions = field(default_factory=StoreOptions)
    """How much of the traffic is kept."""
    outcomes: OutcomeRules | None = None
    """What a success is; None: as the last time that it was said."""
    scrub: ScrubRules = field(default_factory=ScrubRules)
    """What is personal data; for the preview of what a student would learn."""
    verifiers: tuple[str, ...] = ()
    """Functions that judge runs, `package.module:function`."""
    verifier_limit_s: float = 10.0
    """Longest time that a verifier may take for one run, in seconds."""
    text_verifiers: tuple[str, ...] = ()
    """Functions that decide where the comparison rules are unsure about two texts, each `package.module:function`; see
    [comparison](comparison.md)."""
    phrase_languages: tuple[PhraseLanguage, ...] = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ja", "zh")
    """Languages whose phrases tell a refusal or a doubt in a text, for the null guards (see
    [guarantees](guarantees.md))."""
    refusal_phrases: tuple[str, ...] = ()
    """More beginnings of an answer that refuses, in any language."""
    doubt_phrases: tuple[str, ...] = ()
    """More of what an answer says somewhere that doesn't know."""
    telemetry: TelemetryOptions = field(default_factory=TelemetryOptions)
    """What other systems are told."""
    settings: tuple[Setting, ...] = ()
    """All settings in force, for the dashboard."""
    token_env: str = "TUTELAGE_ADMIN_TOKEN"
    """Environment variable with the token that the dashboard and the admin API ask for when `host` is not an address
    of this machine alone. Unset: one is made, and kept in the data folder's `admin.token`."""


def from_environment(kind: type[Options]) -> Options:
    """The options in TUTELAGE_OPTIONS. Raises msgspec.ValidationError when they don't fit `kind`."""
    return msgspec.json.decode(os.environ[ENVIRONMENT], type=kind)


def to_environment(options: object) -> dict[str, str]:
    """The current environment with `options` added for a child process."""
    return {**os.environ, ENVIRONMENT: msgspec.json.encode(options).decode()}
