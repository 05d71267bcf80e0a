"""Prometheus' own tool accepts the rules and the configuration, and the rules fire when they should."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

GRAFANA = Path(__file__).parent.parent / "examples" / "grafana"
pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt install prometheus")


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments], cwd=GRAFANA, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_as_many_as_in_the_file() -> None:
    groups = yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"]
    assert f"{sum(len(group['rules']) for group in groups)} rules found" in promtool("check", "rules", "alerts.yml")


def test_the_configuration_is_valid() -> None:
    assert "1 rule files found" in promtool("check", "config", "prometheus.yml")


def test_the_rules_fire_when_they_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_every_rule_that_is_tested_is_there() -> None:
    groups = yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"]
    tested = yaml.safe_load((GRAFANA / "alerts_test.yml").read_text())["tests"]
    # promtool expects no alert of a name that does not exist, and finds none.
    named = {case["alertname"] for one in tested for case in one["alert_rule_test"]}
    assert named <= {rule["alert"] for group in groups for rule in group["rules"]}
    assert len(named) >= 8
