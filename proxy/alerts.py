"""Alerts to a webhook, in the form that Slack and those who imitate it take: `{"text": …, "blocks": […]}`.

Sent by a thread of its own, so that a slow receiver holds up nothing. A message is tried again with growing pauses, and
as long as the receiver asks for (`retry-after`); after the last try it is in the log and in the metrics.

Invariant: whoever reads is not flooded. What says the same (`subject`) is sent once in `repeat_s`, and at most `BURST`
messages in an hour; the next one tells how many were held back. No payload, prompt or key is ever in a message.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, Full, Queue
from threading import Event
from typing import Any

import httpx

from .metrics_calls import Counter

logger = logging.getLogger(__name__)
BURST, HOUR_S = 20, 3600.0
TRIES = 4
PAUSE_S = 1.0
"""Before the second try; each further one waits twice as long as the one before."""
LONGEST_PAUSE_S = 60.0
TIMEOUT_S = 10.0
DEMOTED, DROPPED, BREAKER, BUDGET = "demoted", "records_dropped", "teacher_unreachable", "budget_used_up"


@dataclass(frozen=True)
class Alert:
    """Something that a person should know of."""

    kind: str
    """DEMOTED, DROPPED, BREAKER or BUDGET."""
    subject: str
    """What it is about; with the kind, what is not said again for a while."""
    title: str
    text: str
    """What happened, and what to do, on one or two lines."""


@dataclass
class Webhook:
    """Sends alerts to one URL. `send` may be called from any thread."""

    url: str
    client: httpx.Client
    repeat_s: float = 900.0
    dashboard: str = ""
    """Where to look; shown in each message."""
    clock: Callable[[], float] = time.monotonic
    pause_s: float = PAUSE_S
    counts: Counter = field(default_factory=Counter)
    """Messages by kind and outcome: `sent`, `failed`, `held_back`."""
    _queue: "Queue[Alert]" = field(default_factory=lambda: Queue(100))
    _said: dict[tuple[str, str], float] = field(default_factory=dict)
    _sent: deque[float] = field(default_factory=deque)
    _held: int = 0

    def send(self, alert: Alert) -> None:
        """Hand over one alert; it is sent soon, or held back."""
        now, key = self.clock(), (alert.kind, alert.subject)
        while self._sent and now - self._sent[0] >= HOUR_S:
            self._sent.popleft()
        self._said = {said: at for said, at in self._said.items() if now - at < self.repeat_s}
        if key in self._said:
            return
        self._said[key] = now
        try:
            if len(self._sent) >= BURST:
                raise Full
            self._queue.put_nowait(alert)
            self._sent.append(now)
        except Full:
            self._held += 1
            self.counts.add((alert.kind, "held_back"))
            logger.warning("Alert held back: %s. %s", alert.title, alert.text)

    def run(self, stop: Event) -> None:
        """Send what comes until `stop`; then what is left gets one try each."""
        while not stop.is_set() or not self._queue.empty():
            try:
                alert = self._queue.get(timeout=0.2)
            except Empty:
                continue
            self._deliver(alert, stop)

    def _deliver(self, alert: Alert, stop: Event) -> None:
        held, self._held = self._held, 0
        content, pause, why = message(alert, self.dashboard, held), self.pause_s, ""
        for left in range(TRIES - 1, -1, -1):
            why, wanted = self._post(content)
            if not why:
                self.counts.add((alert.kind, "sent"))
                return
            if not left or wanted is None or stop.wait(min(max(pause, wanted), LONGEST_PAUSE_S)):
                break
            pause *= 2
        self._held += held
        self.counts.add((alert.kind, "failed"))
        logger.error("The webhook did not take an alert (%s): %s. %s", why, alert.title, alert.text)

    def _post(self, content: dict[str, Any]) -> tuple[str, float | None]:
        """Why it was not taken (empty: it was), and the seconds to wait at least; None: trying again is of no use."""
        try:
            answer = self.client.post(self.url, json=content, timeout=TIMEOUT_S)
        except httpx.HTTPError as error:
            # Without its text, which may hold the URL: that is a secret.
            return type(error).__name__, 0.0
        if answer.is_success:
            return "", None
        if answer.status_code != 429 and answer.status_code < 500:
            return f"status {answer.status_code}", None
        wanted = answer.headers.get("retry-after", "")
        return f"status {answer.status_code}", float(wanted) if wanted.isdigit() else 0.0


def message(alert: Alert, dashboard: str = "", held: int = 0) -> dict[str, Any]:
    """The body that is posted."""
    told = f"*{_escaped(alert.title)}*\n{_escaped(alert.text)}"
    context = [f"Tutelage · {alert.kind}"]
    if dashboard:
        context.append(f"<{dashboard}>")
    if held:
        context.append(f"{held} more were held back")
    small = [{"type": "mrkdwn", "text": " · ".join(context)}]
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": told}}, {"type": "context", "elements": small}]
    return {"text": f"{_escaped(alert.title)}: {_escaped(alert.text)}", "blocks": blocks}


def _escaped(text: str) -> str:
    """As Slack wants it: names of patterns and upstreams must not become links or mentions."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
