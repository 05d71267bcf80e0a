"""What a manifest tells about its examination: figures with what they rest on, and nothing made up."""

from typing import Any

from test_student_commands import manifest

from tutelage.proxy.views_examination import examination, forgetting
from tutelage.traffic.calibration import Calibration

HALF = {"share": 0.5, "low": 0.4, "high": 0.6, "calls": 80, "sessions": 40}
SCORES: dict[str, Any] = {
    "contenders": [{"name": "nearest neighbour", "agreement": HALF, "student": 0.9}],
    "measures": {"tools": HALF, "text": HALF | {"share": None, "calls": 0, "sessions": 0}},
    "epochs": [{"epoch": 1, "agreement": HALF, "reasons": {}}],
    "curve": [{"sessions": 1_000, "agreement": HALF, "seconds": 1.0}],
    "served": [
        {"limit": 0.05, "threshold": None, "share": HALF, "risk": HALF},
        {"limit": 0.1, "threshold": -0.25, "share": HALF, "risk": HALF},
    ],
    "forgetting": {"mean_kl": 0.125, "same_token": 0.9, "anchors": 16, "tokens": 384},
    "leaks": {"canaries": 2, "written": 0, "exposure": 1.5, "highest": 2.0, "ceiling": 6.0},
}


def test_every_share_stands_with_its_interval_and_n() -> None:
    curve = Calibration(knots=[(-1.0, 0.5)], calls=80, error=0.031)
    found = examination(manifest("desk@1", 1.0, scores=SCORES, calibration=curve, plots=["loss.svg"]))
    for group in (found.contenders, found.measures, found.epochs, found.curve, found.served[1:]):
        assert all("0.400 to 0.600 · n = " in line.rests_on for line in group)
    assert found.contenders[0].rests_on.endswith("this version on the same calls 0.900")
    newer = SCORES | {"contenders": [SCORES["contenders"][0] | {"sessions": {"better": 5, "worse": 2}}]}
    beside = examination(manifest("desk@1", 1.0, scores=newer)).contenders[0]
    assert beside.rests_on.endswith("0.900, better in 5 and worse in 2 sessions")
    assert [line.value for line in found.measures] == ["0.500", "–"]
    assert found.served[0].rests_on == "no threshold was proved safe enough"
    assert found.served[1].name == "share served at risk ≤ 0.10, score ≥ -0.250 (right with probability ≥ 0.50)"
    assert examination(manifest("desk@1", 1.0, scores=SCORES)).served[1].name.endswith("score ≥ -0.250")
    assert [line.value for line in found.facts][1:] == ["0 of 2", "0.031"]
    assert found.plots == ("/api/students/desk@1/plots/loss.svg",)


def test_versions_of_older_programs_tell_less() -> None:
    found = examination(manifest("desk@1", 1.0, scores={}))
    assert found.contenders == found.measures == found.served == found.plots == ()
    assert [line.value for line in found.facts] == ["not measured in this run"]
    assert "0.125 nats" in forgetting(SCORES["forgetting"])
