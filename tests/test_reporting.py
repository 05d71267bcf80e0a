"""Metrics, alerts, traces and logs of a real `tutelage serve`, with no secret and no payload in any of them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from http_receiver import Answer, Posted, Receiver, receiving
from prometheus_client.parser import text_string_to_metric_families as parse

from tutelage.proxy.options import ControlOptions, TelemetryOptions
from tutelage.proxy.reporting import Reporting
from tutelage.traffic.errors import BadInput

KEY, PROMPT, ANSWER = "sk-planted-key-0123456789", "planted-prompt-text", "planted-answer-text"
HOOK, BROKEN, QUERY, COLLECTOR = "planted-hook", "planted-broken-body", "planted-query", "planted-collector-token"
SECRETS = (KEY, "planted-key", PROMPT, ANSWER, HOOK, BROKEN, QUERY, COLLECTOR)
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def completion(_: Posted) -> Answer:
    message = {"role": "assistant", "content": ANSWER}
    body = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m-1", "usage": USAGE}
    body["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    return Answer(200, json.dumps(body).encode(), (("content-type", "application/json"),))


class Running(NamedTuple):
    data: Path
    said: Path
    teacher: Receiver
    watcher: Receiver
    """The webhook's and the collector's place."""
    process: "subprocess.Popen[bytes]"
    agents: str
    admin: str

    def call(self, content: str | None = None, query: str = "") -> int:
        body = content or json.dumps({"model": "m-1", "messages": [{"role": "user", "content": PROMPT}]})
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        url = f"{self.agents}/v1/chat/completions{query}"
        return httpx.post(url, content=body.encode(), headers=headers, timeout=20).status_code

    def metrics(self) -> dict[str, float]:
        """Sums over all labels."""
        text = httpx.get(f"{self.admin}/metrics", timeout=20).text
        found: dict[str, float] = {}
        for family in parse(text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0) + sample.value
        return found

    def hooked(self) -> list[dict[str, Any]]:
        return [json.loads(one.body) for one in list(self.watcher.posted) if HOOK in one.path]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def eventually(holds: Callable[[], bool], timeout_s: float = 60.0) -> bool:
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        try:
            if holds():
                return True
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("serve")
    agents, admin, student = free_ports(3)
    with receiving(completion) as teacher, receiving() as watcher:
        (folder / "tutelage.toml").write_text(
            f'teacher = "{teacher.url}/v1"\nlog_format = "json"\nlog_level = "debug"\n'
            f'[telemetry]\notlp_url = "{watcher.url}"\notlp_headers_env = "COLLECTOR_HEADERS"\n'
        )
        command = [sys.executable, "-m", "tutelage", "serve", "--config", str(folder / "tutelage.toml")]
        command += ["--port", str(agents), "--control-port", str(admin), "--student-port", str(student)]
        environment = {
            **os.environ,
            "TUTELAGE_WEBHOOK_URL": f"{watcher.url}/services/{HOOK}",
            "COLLECTOR_HEADERS": f"authorization=Bearer {COLLECTOR}",
            "OPENAI_API_KEY": KEY,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        said = folder / "said.txt"
        with said.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=folder)
        at, to = f"http://127.0.0.1:{agents}", f"http://127.0.0.1:{admin}"
        started = Running(folder / "tutelage-data", said, teacher, watcher, process, at, to)
        try:
            assert eventually(lambda: httpx.get(f"{to}/healthz").status_code == 200), said.read_text()
            assert eventually(lambda: httpx.get(f"{at}/tutelage/health").status_code == 200), said.read_text()
            yield started
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def test_a_real_run_is_told_and_keeps_its_secrets(running: Running) -> None:
    began = time.monotonic()
    assert {running.call(query=f"?key={QUERY}") for _ in range(5)} == {200}
    assert running.call(f'{{"model": "m-1", "messages": [ {BROKEN}') == 400
    assert eventually(lambda: running.metrics().get("tutelage_requests_total", 0) >= 6)
    assert eventually(lambda: running.metrics().get("tutelage_overhead_seconds_count", 0) == 5)
    assert eventually(lambda: running.metrics().get("tutelage_log_records_total", 0) == 6)
    waited, found = time.monotonic() - began, running.metrics()
    assert found["tutelage_workers"] == 1
    assert found["tutelage_tokens_total"] == 75
    # The one ends when the record is with the journal, the other with the answer's last byte: neither bounds the other.
    for name in ("overhead", "request_duration"):
        assert 0 < found[f"tutelage_{name}_seconds_sum"] < waited

    # The teacher goes down: it is left alone, and somebody is told.
    running.teacher.usual = lambda _: Answer(503, ANSWER.encode())
    for _ in range(20):
        running.call()
    assert eventually(lambda: any("left alone" in one["text"] for one in running.hooked()))
    assert running.metrics()["tutelage_breaker_open"] == 1
    assert eventually(lambda: any(one.path == "/v1/traces" for one in running.watcher.posted))

    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0
    logs = {path.name: path.read_text() for path in (running.data / "logs").iterdir()}
    assert {"control plane.log", "data plane.log"} <= set(logs)
    assert any(logs.values())
    for line in "".join(logs.values()).splitlines():
        assert {"time", "level", "logger", "message"} <= set(json.loads(line)), line
    told = {**logs, "screen": running.said.read_text()}
    told |= {f"posted {n}": one.body.decode("latin-1") for n, one in enumerate(running.watcher.posted)}
    leaks = [(name, secret) for name, text in told.items() for secret in SECRETS if secret in text]
    assert leaks == []
    # The collector's own header arrives where it belongs.
    [header] = {one.headers.get("authorization") for one in running.watcher.posted if one.path == "/v1/traces"}
    assert header == f"Bearer {COLLECTOR}"


@pytest.mark.parametrize(
    ("telemetry", "environ", "words"),
    [
        (TelemetryOptions(), {"TUTELAGE_WEBHOOK_URL": "hooks.test/hidden"}, "TUTELAGE_WEBHOOK_URL does not hold a URL"),
        (TelemetryOptions(webhook_env="MY_HOOK"), {"MY_HOOK": "ftp://hidden"}, "MY_HOOK"),
        (TelemetryOptions(otlp_url="collector:4318"), {}, "telemetry.otlp_url"),
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_it(
    control_world: Any, telemetry: TelemetryOptions, environ: dict[str, str], words: str
) -> None:
    options = ControlOptions(data="", teacher_url="", telemetry=telemetry)
    plane = control_world.plane
    with pytest.raises(BadInput, match=words) as caught:
        Reporting(plane.data, plane.store, plane.keeper, options, [], environ=environ)
    assert "hidden" not in str(caught.value)
