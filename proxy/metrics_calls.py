"""Counters and histograms of the calls, kept in memory of the control plane as calls come into the store.

Not read from the store: retention removes calls, and a counter must never fall. A batch is one pass over a few columns;
label sets are looked up, never made per call.

Invariant: the number of series is bounded whatever agents send. The first `patterns` patterns and `MODELS` models get a
label of their own (a model only once it has answered), everything later counts under `other`.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from .ledger import cost, price_of
from .options import Price
from .savings import student_price
from .shadow import AUDIT, Label

OTHER, UNKNOWN = "other", "unknown"
MODELS, REASONS = 30, 40
"""Labels of their own at most."""
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper edges of the steps of durations: model calls last between milliseconds (a student) and minutes."""
MEANS_S = 300.0
"""The teacher's mean call, by which savings are estimated, is asked for so often at most."""
_ELSEWHERE = ("imported", "recorded")
_COLUMNS = ("route", "reason", "model", "pattern_id", "status", "stream", "fallback", "student")
_NUMBERS = ("first_byte_ms", "latency_ms", "prompt_tokens", "completion_tokens")

Key = tuple[str, ...]
Means = Callable[[], Mapping[str, Mapping[str, Any]]]


class Call(NamedTuple):
    """What is counted of one row of `calls`."""

    route: str | None
    reason: str | None
    model: str | None
    pattern_id: str | None
    status: int | None
    stream: bool | None
    fallback: str | None
    student: str | None
    first_byte_ms: float | None
    latency_ms: float | None
    prompt_tokens: int | None
    completion_tokens: int | None


class Names:
    """Values of one label: the first `limit` are kept, later ones are `other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def of(self, name: str | None, *, new: bool = True) -> str:
        """The label for a value. `new`: whether it may take a place."""
        if not name:
            return UNKNOWN
        if name not in self._known:
            if not new or len(self._known) >= self._limit:
                return OTHER
            self._known.add(name)
        return name

    def __contains__(self, name: str) -> bool:
        return name in self._known


class Counter:
    """Sums by label values."""

    def __init__(self) -> None:
        self.sums: dict[Key, float] = {}

    def add(self, key: Key, amount: float = 1) -> None:
        """Add to one series."""
        self.sums[key] = self.sums.get(key, 0) + amount


class Histogram:
    """Counts by label values and step; each list has one more count, of what lies beyond, and the sum."""

    def __init__(self, edges: tuple[float, ...] = SECONDS) -> None:
        self.edges = edges
        self.steps: dict[Key, list[float]] = {}

    def note(self, key: Key, value: float) -> None:
        """Count one value."""
        steps = self.steps.get(key)
        if steps is None:
            steps = self.steps[key] = [0.0] * (len(self.edges) + 2)
        steps[bisect_left(self.edges, value)] += 1
        steps[-1] += value


@dataclass
class CallMetrics:
    """A watcher. `calls` runs in the keeper's thread, `label` in the runners'; both only ever add."""

    prices: Mapping[str, Price]
    means: Means
    """The teacher's mean call by pattern; see `ledger.teacher_means`."""
    clock: Callable[[], float]
    patterns: int = 100
    """Patterns with a label of their own."""
    requests: Counter = field(default_factory=Counter)
    """By route, model, pattern, status."""
    recorded: Counter = field(default_factory=Counter)
    """Calls that were made elsewhere, by the way in which they came."""
    duration: Histogram = field(default_factory=Histogram)
    first_token: Histogram = field(default_factory=Histogram)
    """By route; streamed answers only, for in others the first byte is the last."""
    tokens: Counter = field(default_factory=Counter)
    """By route and direction."""
    cost: Counter = field(default_factory=Counter)
    """US dollars by route, and for `audit` and `shadow`."""
    unpriced: Counter = field(default_factory=Counter)
    """Answers whose cost is unknown, by route."""
    saved: Counter = field(default_factory=Counter)
    fallbacks: Counter = field(default_factory=Counter)
    pairs: Counter = field(default_factory=Counter)
    """By pattern, kind and verdict."""

    def __post_init__(self) -> None:
        self.pattern_names, self._models, self._reasons = Names(self.patterns), Names(MODELS), Names(REASONS)
        self._means: Mapping[str, Mapping[str, Any]] = {}
        self._asked = -MEANS_S
        self._prices: dict[str, Price | None] = {}
        for route in ("teacher", "student", "none"):
            # There from the start, so that the first increase is seen as one.
            for direction in ("input", "output"):
                self.tokens.add((route, direction), 0)
            self.cost.add((route,), 0)
        self.saved.add((), 0)

    def calls(self, calls: pa.Table) -> None:
        """See `Watcher.calls`."""
        columns = [calls.column(name).to_pylist() for name in (*_COLUMNS, *_NUMBERS)]
        for row in zip(*columns, strict=True):
            self._count(Call(*row))

    def label(self, label: Label) -> None:
        """See `Watcher.label`."""
        task = label.task
        verdict = "unsure" if label.waits else "same" if label.loss == 0 else "different"
        self.pairs.add((self.pattern_names.of(task.pattern_id), task.kind, verdict))
        if label.reply is None:
            return
        price = self._price(str(task.request.get("model") or "")) if task.kind == AUDIT else self._student(task.student)
        self._pay(task.kind, price, *label.usage)

    def _count(self, call: Call) -> None:
        origin = (call.reason or "").partition(":")[0]
        if origin in _ELSEWHERE:
            self.recorded.add((origin,))
            return
        route, status = call.route or UNKNOWN, call.status or 0
        model = self._models.of(call.model, new=status == 200)
        self.requests.add((route, model, self.pattern_names.of(call.pattern_id), str(status)))
        if call.latency_ms is not None:
            self.duration.note((route,), call.latency_ms / 1000)
        if call.stream and call.first_byte_ms:
            self.first_token.note((route,), call.first_byte_ms / 1000)
        if call.fallback:
            self.fallbacks.add((self._reasons.of(call.fallback),))
        self.tokens.add((route, "input"), call.prompt_tokens or 0)
        self.tokens.add((route, "output"), call.completion_tokens or 0)
        if status == 200 and model != UNKNOWN and route in ("teacher", "student"):
            self._money(call, route)

    def _money(self, call: Call, route: str) -> None:
        student = route == "student"
        price = self._student(call.student or "") if student else self._price(call.model or "")
        self._pay(route, price, call.prompt_tokens, call.completion_tokens)
        mean = self._teacher_means().get(call.pattern_id or "") if student else None
        if mean is not None:
            spared = cost(self._price(str(mean["model"])), mean["prompt"], mean["completion"])
            self.saved.add((), spared or 0.0)

    def _pay(self, route: str, price: Price | None, prompt: int | None, completion: int | None) -> None:
        if price is None or (prompt is None and completion is None):
            self.unpriced.add((route,))
        else:
            self.cost.add((route,), cost(price, prompt or 0, completion or 0) or 0.0)

    def _price(self, model: str) -> Price | None:
        return self._priced(model, partial(price_of, model, self.prices))

    def _student(self, version: str) -> Price | None:
        return self._priced(f"student {version}", partial(student_price, version, self.prices))

    def _priced(self, name: str, find: Callable[[], Price | None]) -> Price | None:
        if name not in self._prices:
            if len(self._prices) > 1000:  # names that agents have made up
                self._prices.clear()
            self._prices[name] = find()
        return self._prices[name]

    def _teacher_means(self) -> Mapping[str, Mapping[str, Any]]:
        if self.clock() - self._asked >= MEANS_S:
            self._means, self._asked = self.means(), self.clock()
        return self._means
