"""What the student server counts, for Prometheus (`/metrics`).

Invariant: the number of series is bounded: labels are loaded models, codes of errors and directions, never a call.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .student import Answer

_STEPS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Meters:
    """The counters of one server. `running`, `waiting` and `loaded` are asked at every scrape."""

    def __init__(self, running: Callable[[], float], waiting: Callable[[], float], loaded: Callable[[], float]) -> None:
        self._registry = CollectorRegistry()
        self._answers = self._counter("answers", "Calls by outcome: ok, or the code of the error", "model", "code")
        self._tokens = self._counter(
            "tokens", "Tokens read (prompt), of these cached, and written", "model", "direction"
        )
        self._queued = self._histogram("queue", "Time until a call had its slot")
        self._prefill = self._histogram("prefill", "Time from the slot to the first token")
        self._decode = self._histogram("decode", "Time from the first token to the last")
        self._whole = self._histogram("answer", "Time of a call that was answered, waiting included")
        for name, told, ask in (
            ("running", "Calls that have a slot", running),
            ("waiting", "Calls that wait for one", waiting),
            ("models", "Versions and bases that are loaded", loaded),
        ):
            Gauge(f"tutelage_student_{name}", told, registry=self._registry).set_function(ask)

    def answered(self, model: str, answer: Answer, queued_s: float, whole_s: float) -> None:
        """One good answer."""
        self._answers.labels(model, "ok").inc()
        cached = (answer.usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        counts = {"prompt": answer.usage["prompt_tokens"], "completion": answer.usage["completion_tokens"]}
        for direction, count in {**counts, "cached": cached}.items():
            self._tokens.labels(model, direction).inc(count)
        self._queued.observe(queued_s)
        self._prefill.observe(answer.prefill_s)
        self._decode.observe(answer.decode_s)
        self._whole.observe(whole_s)

    def failed(self, model: str, code: str) -> None:
        """A call without an answer; `model` is empty where it is not known."""
        self._answers.labels(model, code).inc()

    def page(self) -> bytes:
        """The text."""
        return generate_latest(self._registry)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"tutelage_student_{name}", told, labels, registry=self._registry)

    def _histogram(self, name: str, told: str) -> Histogram:
        return Histogram(f"tutelage_student_{name}_seconds", told, buckets=_STEPS_S, registry=self._registry)
