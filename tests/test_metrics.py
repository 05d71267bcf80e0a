"""The page that Prometheus reads, and that everything in examples/grafana and docs/metrics.md is really there."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse

from tutelage import __version__
from tutelage.proxy.metrics import Metrics
from tutelage.proxy.metrics_workers import Noticeboard, Report

ROOT = Path(__file__).parent.parent
GRAFANA = ROOT / "examples" / "grafana"
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def metrics(control_world: Any) -> Metrics:
    control_world.play(40)
    control_world.add_student()
    control_world.play(30)
    control_world.idle()
    control_world.label()
    control_world.idle()
    return control_world.plane.reporting.metrics


def samples(metrics: Metrics) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by name and label values, in the order of the labels' names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in parse(metrics.page()[0].decode()):
        for sample in family.samples:
            key = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[key] = sample.value
    return found


def exposed(metrics: Metrics) -> dict[str, str]:
    """Every name that an expression may use, with its kind; also of families that have no value yet."""
    lines = re.findall(r"^# TYPE (\S+) (\S+)$", metrics.page()[0].decode(), re.MULTILINE)
    return {
        name.removesuffix("_total") + suffix: kind
        for name, kind in lines
        if name.startswith("tutelage_")
        for suffix in SUFFIXES[kind]
    }


def test_what_happened_is_on_the_page(metrics: Metrics, control_world: Any) -> None:
    found, pattern = samples(metrics), control_world.pattern
    assert found["tutelage_build_info"] == {(__version__,): 1}
    assert sum(found["tutelage_requests_total"].values()) == 70
    assert found["tutelage_requests_total"]["teacher-1-big", pattern, "teacher", "200"] > 60
    assert found["tutelage_request_duration_seconds_count"]["teacher",] == 70
    assert found["tutelage_tokens_total"]["input", "teacher"] == 7000
    assert found["tutelage_cost_usd_total"]["teacher",] == pytest.approx(7000 * 2e-6 + 700 * 8e-6)
    assert found["tutelage_shadow_pairs_total"]["shadow", pattern, "same"] == 30
    assert found["tutelage_gate_state"] == {(pattern, "shadow"): 1}
    assert found["tutelage_evidence_sessions"][pattern,] == 30
    assert found["tutelage_risk_limit_ratio"][pattern,] == 0.1
    assert found["tutelage_risk_bound_ratio"]["high", pattern] < 0.2
    assert found["tutelage_pattern_info"] == {("set_status", pattern, "1"): 1}
    assert found["tutelage_ingest_calls_total"] == {(): 70}
    assert found["tutelage_transitions_total"][("guard", pattern, "quarantined")] == 0


def test_counters_do_not_fall_when_calls_are_removed(metrics: Metrics, control_world: Any) -> None:
    before = samples(metrics)["tutelage_requests_total"]
    control_world.plane.store.execute("DELETE FROM calls")
    assert samples(metrics)["tutelage_requests_total"] == before


def test_workers_are_added_up_with_their_own_time(metrics: Metrics, control_world: Any) -> None:
    board = Noticeboard(control_world.data.workers)
    steps = [0.0, 3.0, *[0.0] * 10, 1.0, 9.0005]
    breakers = {"default": {"state": "open", "opened": 2}}
    board.show(
        Report(
            at=control_world.now, pid=os.getpid(), lost=2, in_flight=3, overhead={"teacher": steps}, breakers=breakers
        )
    )
    found = samples(metrics)
    assert found["tutelage_workers"] == {(): 1}
    assert found["tutelage_in_flight_calls"] == {(): 3}
    assert found["tutelage_log_dropped_total"] == {("failing",): 2, ("full",): 0}
    assert found["tutelage_breaker_open"] == {("default",): 1}
    assert found["tutelage_overhead_seconds_bucket"]["0.0001", "teacher"] == 3
    assert found["tutelage_overhead_seconds_bucket"]["+Inf", "teacher"] == 4
    assert found["tutelage_overhead_seconds_sum"]["teacher",] == pytest.approx(9.0005)
    board.close()


def test_the_page_comes_in_the_form_that_is_asked_for(metrics: Metrics) -> None:
    text, kind = metrics.page(OPEN_METRICS)
    assert kind.startswith("application/openmetrics-text")
    assert len(list(parse_open(text.decode()))) > 30


def expressions() -> list[str]:
    board = json.loads((GRAFANA / "dashboards" / "tutelage.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    found += [one["expr"] for one in board["annotations"]["list"]]
    found += [one["query"]["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    rules = yaml.safe_load((GRAFANA / "alerts.yml").read_text())
    return found + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def test_every_expression_uses_metrics_and_labels_that_there_are(metrics: Metrics) -> None:
    names = exposed(metrics)
    families = {family.name: family for family in metrics.collect()}
    assert len(expressions()) > 50
    for expression in expressions():
        for name, matchers in re.findall(r"(tutelage_[a-z_0-9]+)(?:\{([^}]*)\})?", expression):
            assert name in names, (name, expression)
            base = name if name in families else re.sub("_(total|bucket|count|sum)$", "", name)
            for label in re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", matchers):
                assert label in families[base]._labelnames, (label, expression)  # pyright: ignore[reportAttributeAccessIssue]
        assert expression.count("(") == expression.count(")")
        assert not re.search(r"rate\(tutelage_\w+(?<!_total)(?<!_bucket)[{\[]", expression), expression


def test_a_rule_is_complete_and_a_dashboard_has_no_numeric_id() -> None:
    rules = [r for g in yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"] for r in g["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 10
    for rule in rules:
        assert {"summary", "description"} <= set(rule["annotations"])
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
    board = json.loads((GRAFANA / "dashboards" / "tutelage.json").read_text())
    assert "id" not in board
    assert (board["uid"], board["title"]) == ("tutelage", "Tutelage")
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in board["panels"] if panel["type"] != "row")
    spots = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in board["panels"]]
    assert len(set(spots)) == len(spots)


def test_provisioning_points_where_the_files_are() -> None:
    compose = yaml.safe_load((GRAFANA / "compose.yml").read_text())
    provider = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "tutelage.yml").read_text())["providers"][0]
    mounts = dict(volume.split(":")[:2] for volume in compose["services"]["grafana"]["volumes"])
    assert mounts["./dashboards"] == provider["options"]["path"]
    source = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    assert source["type"] == "prometheus"
    assert source["url"].removeprefix("$") in compose["services"]["grafana"]["environment"]
    prometheus = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())
    assert prometheus["rule_files"] == ["alerts.yml"]
    for service in compose["services"].values():
        assert all((GRAFANA / volume.split(":")[0]).exists() for volume in service["volumes"])


def test_every_metric_is_in_the_documentation(metrics: Metrics) -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    told = set(re.findall(r"`(tutelage_[a-z_]+)", text))
    families = {name.removesuffix("_bucket") for name in exposed(metrics) if not name.endswith(("_count", "_sum"))}
    assert families - told == set()
    assert told - families == set()
