"""`/metrics` for Prometheus, on the admin port: every name that the program exposes, in one place (docs/metrics.md).

Counters come from what passes by (`metrics_calls`) and from the workers' files (`metrics_workers`); what has a state is
looked up in the control plane's memory when somebody asks. Nothing here reads the store, so a scrape costs milliseconds
whatever the store holds.

Invariant: the number of series is bounded (see `metrics_calls`); no label is a user, a session, a call or a text.
"""

import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from .. import __version__
from ..traffic.layout import DataDir
from .explain import explain
from .keeper import Keeper
from .metrics_calls import CallMetrics, Counter, Histogram, Key
from .metrics_workers import OVERHEAD_STEPS_S, Totals
from .ramp import shares
from .shadow import RunnerStatus


@dataclass(eq=False)
class Metrics:
    """The collector of one control plane. Safe to be asked from several threads."""

    data: DataDir
    keeper: Keeper
    counted: CallMetrics
    workers: Totals
    runners: Iterable[Any] = ()
    """Whatever has a `status` (see `shadow.RunnerStatus`)."""
    transitions: Counter = field(default_factory=Counter)
    """Changes of route by pattern, new state and actor; see `alerts_watch`."""
    budgets: dict[str, bool] = field(default_factory=dict)
    """Which budgets are used up."""
    alerts: Counter = field(default_factory=Counter)
    """Messages to the webhook by kind and outcome."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Reading the workers' files adds up: one at a time."""

    def __post_init__(self) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def page(self, accept: str = "") -> tuple[bytes, str]:
        """The text and its content type; `accept` is the header of who asks."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def read_workers(self) -> None:
        """Bring `workers` up to date."""
        with self._lock:
            self.workers.read()

    def collect(self) -> Iterator[Metric]:
        """All families; called by the registry."""
        yield _gauge("build_info", "The version that runs; always 1.", {(__version__,): 1}, "version")
        yield from self._of_calls()
        yield from self._of_routes()
        yield from self._of_workers()
        yield from self._of_ingest()
        yield from self._of_watch()

    def describe(self) -> Iterator[Metric]:
        """Nothing: the registry need not collect in order to register."""
        yield from ()

    def _of_calls(self) -> Iterator[Metric]:
        counted = self.counted
        text = "Calls through the proxy, attempts each, by who answered and with which status (0: the agent left)."
        yield _counter("requests", text, counted.requests.sums, "route", "model", "pattern", "status")
        text = "Calls made elsewhere that were handed over (recorded) or imported; in no other metric."
        yield _counter("recorded_calls", text, counted.recorded.sums, "origin")
        yield _histogram("request_duration_seconds", "From request to last byte.", counted.duration)
        text = "From request to the first byte of a streamed answer."
        yield _histogram("time_to_first_token_seconds", text, counted.first_token)
        yield _counter("tokens", "Tokens as the answers count them.", counted.tokens.sums, "route", "direction")
        text = "Dollars by who was paid; audit and shadow: for answers that were only compared."
        yield _counter("cost_usd", text, counted.cost.sums, "route")
        yield _counter("unpriced_calls", "Answers whose cost is unknown.", counted.unpriced.sums, "route")
        text = "What the teacher would have been paid for calls that a student answered; nothing is taken off."
        yield _counter("savings_usd", text, counted.saved.sums)
        yield _counter(
            "fallbacks", "Calls given to a student that the teacher answered.", counted.fallbacks.sums, "reason"
        )
        yield _counter("shadow_pairs", "Answers compared.", counted.pairs.sums, "pattern", "kind", "verdict")

    def _of_routes(self) -> Iterator[Metric]:
        board, names = self.keeper.board, self.counted.pattern_names
        states = {pattern: board.state(pattern) for pattern in board.patterns()}
        shown = {pattern: state for pattern, state in states.items() if names.of(pattern) == pattern}
        for pattern in shown:
            # There before it happens: Prometheus sees no increase in a series that begins with its first event.
            self.transitions.add((pattern, "quarantined", "guard"), 0)
        found = {pattern: explain(state) for pattern, state in shown.items()}
        info = {
            (entry.pattern_id, entry.name, str(entry.version)): 1.0
            for entry in self.keeper.registry.entries()
            if entry.pattern_id in names
        }
        yield _gauge("pattern_info", "Name and version of a pattern; always 1.", info, "pattern", "name", "version")
        share = {(pattern,): shares(state).serve for pattern, state in shown.items()}
        yield _gauge("route_share_ratio", "Share of a pattern's sessions that the student serves.", share, "pattern")
        now = {(pattern, state.state): 1.0 for pattern, state in shown.items()}
        yield _gauge("gate_state", "The state that a pattern is in: 1.", now, "pattern", "state")
        risk = {(pattern,): one["risk"] for pattern, one in found.items() if one["risk"] is not None}
        yield _gauge("risk_ratio", "Mean loss of the student in the evidence that counts now.", risk, "pattern")
        bounds = {
            (pattern, bound): value
            for pattern, one in found.items()
            for bound, value in zip(("low", "high"), one["interval"] or (0.0, 1.0), strict=True)
        }
        yield _gauge("risk_bound_ratio", "Interval of the risk, valid at every look.", bounds, "pattern", "bound")
        limit = {(pattern,): state.epsilon for pattern, state in shown.items() if state.student}
        yield _gauge("risk_limit_ratio", "The limit that the risk must lie below.", limit, "pattern")
        sessions = {(pattern,): float(one["n"]) for pattern, one in found.items()}
        yield _gauge("evidence_sessions", "Sessions in the evidence that counts now.", sessions, "pattern")
        every = [state.state for state in states.values()]
        count = {(state,): float(every.count(state)) for state in dict.fromkeys(every)}
        yield _gauge("patterns", "Patterns with a student, by state.", count, "state")
        yield _gauge("off", "1 while the big switch is off.", {(): float(bool(board.big_switch["off"]))})

    def _of_workers(self) -> Iterator[Metric]:
        self.read_workers()
        with self._lock:
            reports, counts = list(self.workers.reports), dict(self.workers.counts)
            overhead = {(route,): list(steps) for route, steps in self.workers.overhead.items()}
            opened = {(name,): float(times) for name, times in self.workers.opened.items()}
            shut = {(name,): float(times) for name, times in self.workers.open_breakers().items()}
        yield _gauge("workers", "Data-plane workers that speak.", {(): float(len(reports))})
        in_flight = float(sum(report.in_flight for report in reports))
        yield _gauge("in_flight_calls", "Calls in progress.", {(): in_flight})
        text = "Our own part: until an upstream is asked, and from an answer in one piece to the agent's socket."
        histogram = Histogram(OVERHEAD_STEPS_S)
        histogram.steps = overhead
        yield _histogram("overhead_seconds", text, histogram)
        yield _counter("log_records", "Call records taken over by the journal.", {(): counts["appended"]})
        dropped = {("failing",): counts["lost"], ("full",): counts["dropped"]}
        text = "Call records let go: writing fails, or they came faster than the disk takes them."
        yield _counter("log_dropped", text, dropped, "cause")
        yield _counter("log_unsynced", "Records written but not made durable.", {(): counts["unsynced"]})
        yield _counter("log_stalls", "Appends that waited for the disk.", {(): counts["stalls"]})
        waiting = float(sum(report.waiting for report in reports))
        yield _gauge("log_queue_records", "Records in memory that are not written yet.", {(): waiting})
        queued = float(sum(report.waiting_bytes for report in reports))
        yield _gauge("log_queue_bytes", "The same in bytes.", {(): queued})
        yield _counter("upstream_retries", "Further attempts to reach a teacher.", {(): counts["retries"]})
        yield _gauge("breaker_open", "Workers that let no call through to an upstream.", shut, "upstream")
        yield _counter("breaker_opened", "Times that a worker stopped asking an upstream.", opened, "upstream")

    def _of_ingest(self) -> Iterator[Metric]:
        health = self.keeper.health
        yield _counter("ingest_calls", "Calls taken into the store.", {(): health.calls})
        yield _counter("ingest_unreadable", "Journal records that hold no call.", {(): health.unreadable})
        yield _counter("ingest_damaged_bytes", "Journal bytes without an intact record.", {(): health.damaged_bytes})
        yield _gauge("ingest_backlog_bytes", "Journal that is not in the store yet.", {(): health.backlog_bytes})
        yield _gauge("ingest_failing", "1 while rounds of ingest fail.", {(): float(bool(health.error))})
        last = {(): health.last_call_at} if health.last_call_at else {}
        yield _gauge("ingest_last_call_timestamp_seconds", "When calls were last taken in.", last)
        runners: list[RunnerStatus] = [runner.status for runner in self.runners]
        done = {(status.kind,): float(status.done) for status in runners}
        yield _counter("labels", "Labels gathered: shadow, audit, noise, judge.", done, "kind")
        stuck = {(status.kind,): float(bool(status.problem)) for status in runners}
        yield _gauge("labels_stuck", "1 while no labels of a kind come.", stuck, "kind")
        store = {(): float(self.data.store.stat().st_size)} if self.data.store.exists() else {}
        yield _gauge("store_bytes", "Size of the store's file.", store)
        free = float(shutil.disk_usage(self.data.root).free)
        yield _gauge("disk_free_bytes", "Free on the disk of the data folder.", {(): free})

    def _of_watch(self) -> Iterator[Metric]:
        text = "Changes of route since the start, by the state after it."
        yield _counter("transitions", text, self.transitions.sums, "pattern", "state", "actor")
        used = {(name,): float(over) for name, over in self.budgets.items()}
        yield _gauge("budget_used_up", "1 while a budget is used up: judge, shadow, keys.", used, "budget")
        yield _counter("alerts", "Messages to the webhook.", self.alerts.sums, "kind", "outcome")


def _counter(name: str, text: str, sums: Mapping[Key, float], *labels: str) -> Metric:
    family = CounterMetricFamily(f"tutelage_{name}", text, labels=labels)
    for key, value in list(sums.items()):
        family.add_metric(key, value)
    return family


def _gauge(name: str, text: str, values: Mapping[Key, float], *labels: str) -> Metric:
    family = GaugeMetricFamily(f"tutelage_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(name: str, text: str, values: Histogram) -> Metric:
    """By route."""
    family = HistogramMetricFamily(f"tutelage_{name}", text, labels=("route",))
    for key, steps in list(values.steps.items()):
        found, total = [], 0.0
        for edge, count in zip((*map(str, values.edges), "+Inf"), steps[:-1], strict=True):
            total += count
            found.append((edge, total))
        family.add_metric(key, found, steps[-1])
    return family
