"""What the control plane tells other systems: metrics when asked, alerts and traces by itself.

Each part has a thread of its own and can only lag or lose what it was to tell: nothing that decides on a route waits
for any of them.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import Response

from ..traffic.errors import BadInput, MissingExtra
from ..traffic.layout import DataDir
from ..traffic.store import Store
from .alerts import Alert, Webhook
from .alerts_watch import Budgets, Watch
from .judging import Judging
from .keeper import Keeper
from .ledger import teacher_means
from .metrics import Metrics
from .metrics_calls import CallMetrics
from .metrics_workers import Totals
from .options import ControlOptions

if TYPE_CHECKING:
    from .telemetry import Telemetry

Run = Callable[[threading.Event], None]
Tell = Callable[[Alert], None]


class Reporting:
    """The metrics, and from `start` to `stop` the threads around them."""

    def __init__(
        self,
        data: DataDir,
        store: Store,
        keeper: Keeper,
        options: ControlOptions,
        runners: Sequence[Any],
        clock: Callable[[], float] = time.time,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Raises BadInput for a URL that is none, MissingExtra when traces are wanted and cannot be made."""
        chosen = options.telemetry
        counted = CallMetrics(options.prices, partial(teacher_means, store), clock, chosen.patterns)
        self.metrics = Metrics(data, keeper, counted, Totals(data.workers, clock), runners)
        self._runners, self._judged, self._stop = runners, bool(options.judge.url), threading.Event()
        self._client = httpx.Client(trust_env=False)
        self._threads: list[threading.Thread] = []
        tell, self._runs = self._webhook(options, environ)
        budgets = Budgets(store, data, options, self._why_no_judge, clock)
        watch = Watch(keeper.board, self.metrics, budgets, tell)
        self._runs.append(watch.run)
        keeper.watchers.add(counted)
        if chosen.otlp_url:
            _check_url("telemetry.otlp_url", chosen.otlp_url)
            traces = _telemetry(chosen.otlp_url, environ.get(chosen.otlp_headers_env, ""))
            keeper.watchers.add(traces)
            self._runs.append(traces.run)

    def start(self) -> None:
        """Begin to look, to send alerts and to send traces."""
        for run in self._runs:
            thread = threading.Thread(target=run, args=(self._stop,), name=f"reporting {run.__qualname__}")
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Let the threads end; what they hold is sent if that can be done at once."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _webhook(self, options: ControlOptions, environ: Mapping[str, str]) -> tuple[Tell, list[Run]]:
        name = options.telemetry.webhook_env
        url = environ.get(name, "") if name else ""
        if not url:
            return lambda alert: None, []
        _check_url(name, url)
        dashboard = f"http://{options.host}:{options.port}"
        webhook = Webhook(url, self._client, options.telemetry.webhook_repeat_s, dashboard, counts=self.metrics.alerts)
        return webhook.send, [webhook.run]

    def _why_no_judge(self, now: float) -> str:
        judging = next((one for one in self._runners if isinstance(one, Judging)), None)
        return judging.queue.room(now) if judging is not None and self._judged else ""


def _telemetry(url: str, headers: str) -> "Telemetry":
    try:
        from .telemetry import Telemetry, headers_of
    except ImportError as error:
        raise MissingExtra("otel", error.name or "opentelemetry-sdk") from error
    return Telemetry(url, headers_of(headers))


def _check_url(name: str, url: str) -> None:
    parsed = httpx.URL(url) if "://" in url else None
    if parsed is None or parsed.scheme not in ("http", "https") or not parsed.host:
        # The value may be a secret, and is not shown.
        raise BadInput(f"{name} does not hold a URL. Expected http:// or https:// with a host.")


def add_metrics(app: FastAPI, metrics: Metrics) -> None:
    """`GET /metrics`."""

    @app.get("/metrics")
    def page(request: Request) -> Response:
        text, content_type = metrics.page(request.headers.get("accept", ""))
        return Response(text, 200, {"cache-control": "no-store", "content-type": content_type})
