"""Evidence as people and programs see it."""

import msgspec
import pytest

from tutelage.proxy.evidence import Served, Shadowed, Trail
from tutelage.proxy.evidence_facts import evidence_of, gate_facts
from tutelage.proxy.gate import Gate
from tutelage.proxy.guard import Guard
from tutelage.proxy.nulls import Nulls
from tutelage.proxy.states import PatternState


def test_evidence_holds_every_number_with_its_n_and_interval() -> None:
    shadowed = Shadowed(gate=Gate(epsilon=0.05, alpha=0.03).fold([0.0] * 92))
    served = Served(
        canary=Gate(epsilon=0.05, alpha=0.03).fold([0.0, 1.0]),
        guard=Guard(epsilon=0.05).update(1.0),
        nulls=Nulls().update({"empty:a.b": 1.0}),
    )
    state = PatternState(
        state="live",
        student="a@1",
        in_shadow=Trail(base=shadowed, now=shadowed),
        in_service=Trail(base=served, now=served),
        invalid=Guard(epsilon=0.01),
    )
    found = evidence_of(state)
    for name in ("shadow", "canary", "guard", "invalid"):
        assert {"n", "losses", "risk", "interval"} <= found[name].keys()
    assert found["canary"]["risk"] == 0.5
    assert found["shadow"]["crossed_at"] == 90
    assert found["invalid"]["risk"] is None
    assert found["served_nulls"]["empty:a.b"]["losses"] == 1.0
    assert msgspec.json.decode(msgspec.json.encode(found)) == found


def test_a_huge_wealth_stays_json() -> None:
    gate = Gate(epsilon=0.05, alpha=0.05, n=10, logs=(5_000.0, 0.0, 0.0, 0.0, 0.0))
    found = gate_facts(gate, 0.05)
    assert found["wealth"] < float("inf")
    assert found["log_wealth"] == pytest.approx(5_000.0, rel=1e-3)
