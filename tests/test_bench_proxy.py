"""The proxy's benchmark: what it reads and computes is right, and who is missing is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.benchmarks import proxy
from tutelage.benchmarks.proxy_cost import top_of
from tutelage.benchmarks.proxy_gateways import PEERS, start
from tutelage.benchmarks.proxy_log import LogCheck
from tutelage.benchmarks.proxy_mock import (
    CONFIGS,
    TIMED_FRAMES,
    NotInstalled,
    answer,
    frames,
    nginx_config,
    program,
    request_body,
)
from tutelage.benchmarks.proxy_rates import rate_bars, summary
from tutelage.benchmarks.proxy_site import known_pattern, log_check
from tutelage.benchmarks.proxy_wrk import parse_wrk
from tutelage.traffic.journal import JournalWriter
from tutelage.traffic.patterns import Registry, facts_of
from tutelage.traffic.records import CallRecord, encode, new_call_id

WRK = """Running 6s test @ http://127.0.0.1:9100/v1/chat/completions
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.46ms  312.10us   9.87ms   91.20%
    Req/Sec    11.00k     1.02k   13.10k    70.00%
  Latency Distribution
     50%    {p50}
     75%    1.60ms
     90%    1.84ms
     99%    {p99}
  65821 requests in 6.00s, 43.12MB read
{more}Requests/sec:  10969.44
Transfer/sec:      7.19MB
"""


# What wrk says.


@pytest.mark.parametrize(
    ("p50", "p99", "ms"), [("850.00us", "2.50ms", (0.85, 2.5)), ("1.20s", "1.50m", (1200.0, 90_000.0))]
)
def test_figures_of_wrk(p50: str, p99: str, ms: tuple[float, float]) -> None:
    result = parse_wrk(WRK.format(p50=p50, p99=p99, more=""))
    assert (result.requests, result.per_s, result.bad, result.good) == (65_821, 10_969.44, 0, 65_821)
    assert (result.p50_ms, result.p99_ms) == pytest.approx(ms)


def test_errors_that_wrk_counted() -> None:
    more = "  Socket errors: connect 1, read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: 100\n"
    result = parse_wrk(WRK.format(p50="1.00ms", p99="2.00ms", more=more))
    assert (result.bad, result.good) == (107, 65_714)


def test_no_figures_of_wrk() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused\n")


# The call and the mock.


def test_the_call_is_shaped_like_an_agents() -> None:
    body = json.loads(request_body())
    assert (len(body["tools"]), len(body["messages"])) == (3, 6)
    assert 2_700 <= len(request_body()) <= 2_900
    assert "stream" not in body
    asked = json.loads(request_body("other", stream=True, asks_for_usage=True))
    assert (asked["model"], asked["stream"], asked["stream_options"]) == ("other", True, {"include_usage": True})


def test_the_mock_says_what_is_expected_of_it() -> None:
    config = nginx_config((CONFIGS / "nginx.conf").read_text(), Path("/somewhere"), 4321, Path("/modules/echo.so"))
    assert "listen 127.0.0.1:4321 " in config
    assert "load_module /modules/echo.so;" in config
    assert config.count("echo_sleep 0.01;") == config.count("echo_sleep 0.1;") == TIMED_FRAMES - 1
    spoken = [line.split("echo -n '")[1].rpartition("';")[0] for line in config.splitlines() if "echo -n '" in line]
    plain = [line.split("'; echo_flush")[0].replace("\\n", "\n").replace("\\\\", "\\").encode() for line in spoken]
    assert plain[:2] == [answer(), answer()]
    assert b"".join(plain[2:]) == b"".join(frames()) * 2
    assert not {"FOLDER", "MODULE", "PORT", "ANSWER"} & set(config.partition("worker_processes")[2].split())


def test_the_stream_without_usage_is_the_stream_less_one_event() -> None:
    assert [event for event in frames() if b'"usage"' not in event] == frames(usage=False)
    assert frames()[-1] == b"data: [DONE]\n\n"


def test_its_pattern_is_known_to_the_data_plane(tmp_path: Path) -> None:
    data = known_pattern(tmp_path / "data")
    facts = facts_of(json.loads(request_body()))
    assert facts is not None
    match = Registry.load(data.patterns).identify(facts)
    assert match is not None
    assert json.loads(data.routes.read_text())["routes"][match.pattern_id]["state"] == "shadow"


# The log.


def test_what_is_missing_in_the_log_is_counted(tmp_path: Path) -> None:
    check, writer, ids = log_check(), JournalWriter(tmp_path), [new_call_id() for _ in range(4)]
    good: dict[str, Any] = {
        "started_at": 1.0,
        "status": 200,
        "request": request_body(),
        "response": answer(),
        "pattern": "p_1",
    }
    writer.append(encode(CallRecord(call_id=ids[0], **good)))
    writer.append(encode(CallRecord(call_id=ids[1], **{**good, "response": b"half"})))
    writer.append(encode(CallRecord(call_id=ids[1], **good)))
    writer.append(encode(CallRecord(call_id=ids[2], **{**good, "cancelled": True})))
    writer.close()
    check.acknowledged = 5
    check.read(tmp_path, told=[ids[0], ids[3]])
    assert (check.logged, check.recognised, check.duplicates, check.bodies_wrong) == (3, 3, 1, 1)
    assert (check.missing_ids, check.unlogged, check.unexplained) == (1, 2, 0)
    check.acknowledged = 1
    check.cut_off = 1
    assert (check.unlogged, check.unexplained) == (1, 1)
    assert [bar.ok for bar in proxy.log_bars(check)] == [False, False, False]
    assert all(bar.ok for bar in proxy.log_bars(LogCheck(frozenset(), frozenset())))


# Bars and tables.


def rate(per_s: float, alone: float) -> dict[str, Any]:
    figures = {"per_s": per_s, "p50_ms": 5.0, "p99_ms": 9.0, "alone_p50_ms": alone, "alone_p99_ms": 2 * alone}
    return {**figures, "cpu_us_per_call": 300.0, "worker_mb": 50.0, "bad": 0}


def test_bars_beside_the_peers() -> None:
    rounds = {
        "direct": [rate(30_000, 0.1), rate(30_000, 0.2), rate(30_000, 0.1)],
        "Tutelage": [rate(2_000, 0.6), rate(9_000, 0.7), rate(2_400, 0.65)],
        "TensorZero": [rate(1_000, 1.1), rate(1_100, 1.3), rate(1_300, 1.2)],
        "MLflow": [rate(410, 4.0)] * 3,
    }
    found, notes = summary(rounds), list[str]()
    assert found["Tutelage"]["per_s"] == 2_400
    assert found["Tutelage"]["alone_added_ms"] == pytest.approx(0.5)
    bars = {bar.name.split(" (")[0]: bar for bar in rate_bars(found, notes)}
    assert bars["calls/s beside TensorZero"].ok
    assert bars["calls/s beside TensorZero"].value == pytest.approx(2_400 / 1_100)
    assert not bars["calls/s beside MLflow"].ok
    assert "calls/s beside Portkey" not in bars
    assert bars["p50 added to one call alone"].ok
    assert any("aim" in note for note in notes)
    table = proxy.rate_table(found, {"TensorZero": "2026.6.0"})
    assert "| TensorZero 2026.6.0 | 1,100 | 2.2 |" in table


def test_every_peer_is_pinned_and_named_when_it_is_missing(tmp_path: Path) -> None:
    assert {peer.name: peer.times for peer in PEERS} == {
        "TensorZero": 2,
        "MLflow": 6,
        "Portkey": 10,
        "LiteLLM": 40,
        "rllm": None,
    }
    manifest = json.loads((CONFIGS / "package.json").read_text())
    assert manifest["dependencies"] == {peer.package: peer.version for peer in PEERS if peer.package.startswith("@")}
    for peer in PEERS:
        assert peer.installed(tmp_path) == ""
        with pytest.raises(NotInstalled, match=rf"{peer.name} is not installed.*--install-peers|needs node"):
            start(peer.name, peer.plan(tmp_path / peer.home, tmp_path, "http://127.0.0.1:1/v1", 1), tmp_path, 0)


def test_the_peers_get_the_upstream(tmp_path: Path) -> None:
    for name in ("litellm.yaml", "mlflow.yaml", "tensorzero.toml"):
        peer = next(peer for peer in PEERS if peer.home == name.split(".")[0])
        peer.plan(tmp_path, tmp_path, "http://127.0.0.1:77/slow/v1", 1)
        settings = (tmp_path / name).read_text().partition("\n")[2]
        assert "http://127.0.0.1:77/slow/v1" in settings
        assert "UPSTREAM" not in settings


def test_missing_programs_and_unknown_parts_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotInstalled, match=r"needs no-such-program.*apt-get install"):
        program("no-such-program")
    assert proxy.main(["--parts", "rates,nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_a_profile_is_added_up() -> None:
    folded = "main (a/b.py:1);serve (a/c.py:5) 3\nmain (a/b.py:2);serve (a/c.py:9);loads (<string>:1) 1\n"
    found = top_of(folded)
    assert found["samples"] == 4
    assert found["alone"] == {"serve (a/c.py)": 0.75, "loads (<string>)": 0.25}
    assert found["with_callees"] == {"main (a/b.py)": 1.0, "serve (a/c.py)": 1.0, "loads (<string>)": 0.25}


def test_the_cost_table_adds_up() -> None:
    table = proxy.cost_table({"parse": 25.0, "the rest": 75.0}, 100.0)
    assert "| parse | 25.0 | 25% |" in table
    assert "| all of the worker | 100.0 | 100% |" in table
