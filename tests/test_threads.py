"""Quiet threads are a default, not an order."""

import os

import pytest

from tutelage.serving.threads import QUIET, quiet_threads


def test_defaults_are_set_and_choices_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    quiet_threads()
    assert os.environ["OMP_WAIT_POLICY"] == QUIET["OMP_WAIT_POLICY"] == "PASSIVE"
    assert os.environ["GOMP_SPINCOUNT"] == "7"
