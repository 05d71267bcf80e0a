"""What a version's manifest tells about its examination, beyond the agreement: every share with its interval and n."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..traffic.calibration import Calibration
from ..traffic.students import Manifest
from .figures import NO_VALUE

_MEASURES = {
    "acts": "acts when the teacher acts",
    "holds_back": "holds back when the teacher does",
    "tools": "same tools, where both act",
    "arguments": "equal arguments, where the tools are the same",
    "text": "same in words, where both write",
}


@dataclass(frozen=True)
class Told:
    """One line: a figure with what it rests on."""

    name: str
    value: str
    rests_on: str
    """Interval and n; empty where the figure is none of a sample."""


@dataclass(frozen=True)
class ExaminationView:
    """The examination of one version, group by group; a group is empty where the version was not asked."""

    contenders: tuple[Told, ...]
    measures: tuple[Told, ...]
    epochs: tuple[Told, ...]
    curve: tuple[Told, ...]
    served: tuple[Told, ...]
    facts: tuple[Told, ...]
    """Forgetting, planted secrets, calibration."""
    plots: tuple[str, ...]
    """Addresses of the drawings."""


def examination(manifest: Manifest) -> ExaminationView:
    """From the manifest alone. Versions of older programs tell less."""
    scores = manifest.scores
    return ExaminationView(
        contenders=tuple(_contender(one) for one in scores.get("contenders", [])),
        measures=tuple(_told(_MEASURES.get(name) or name, one) for name, one in scores.get("measures", {}).items()),
        epochs=tuple(_told(f"after epoch {one['epoch']}", one["agreement"]) for one in scores.get("epochs") or []),
        curve=tuple(_told(f"{one['sessions']:,} sessions", one["agreement"]) for one in scores.get("curve") or []),
        served=tuple(line for one in scores.get("served") or [] for line in _served(one, manifest.calibration)),
        facts=tuple(_facts(manifest)),
        plots=tuple(f"/api/students/{manifest.version}/plots/{name}" for name in manifest.plots),
    )


def forgetting(found: Mapping[str, Any] | None) -> str:
    """How much of the base's other skills was lost, in words."""
    if not found:
        return "not measured in this run"
    return (
        f"{found['mean_kl']:.3f} nats a token away from the base on its own answers to {found['anchors']} prompts of "
        f"general talk; the same next token at {found['same_token']:.0%} of {found['tokens']:,} places"
    )


def _told(name: str, one: Mapping[str, Any]) -> Told:
    share = one.get("share")
    rests_on = f"{one['low']:.3f} to {one['high']:.3f} · n = {one['sessions']:,} sessions, {one['calls']:,} calls"
    return Told(name, NO_VALUE if share is None else f"{share:.3f}", rests_on)


def _contender(one: Mapping[str, Any]) -> Told:
    line, student = _told(str(one["name"]), one["agreement"]), one.get("student")
    if student is None:
        return line
    rests_on = f"{line.rests_on}; this version on the same calls {student:.3f}"
    if sessions := one.get("sessions"):
        rests_on += f", better in {sessions['better']} and worse in {sessions['worse']} sessions"
    return Told(line.name, line.value, rests_on)


def _served(one: Mapping[str, Any], curve: Calibration | None) -> list[Told]:
    limit = f"at risk ≤ {one['limit']:.2f}"
    if one.get("threshold") is None:
        return [Told(f"share served {limit}", "0", "no threshold was proved safe enough")]
    least = one["threshold"]
    means = f" (right with probability ≥ {curve.calibrated(least):.2f})" if curve else ""
    return [
        _told(f"share served {limit}, score ≥ {least:.3f}{means}", one["share"]),
        _told(f"risk of what is served {limit}", one["risk"]),
    ]


def _facts(manifest: Manifest) -> list[Told]:
    found = [Told("forgetting", forgetting(manifest.scores.get("forgetting")), "")]
    if leaks := manifest.scores.get("leaks"):
        exposure = f"exposure {leaks['exposure']:.1f} bits of {leaks['ceiling']:.0f}; 1.4 is chance"
        found.append(Told("planted secrets written out", f"{leaks['written']} of {leaks['canaries']}", exposure))
    if manifest.calibration:
        error, calls = manifest.calibration.error, manifest.calibration.calls
        found.append(Told("expected calibration error", f"{error:.3f}", f"n = {calls:,} calls, out of fold"))
    return found
