"""What the values that a run was given say about its success: the policy, without a store.

The first source with an opinion decides: feedback, then verifiers, then plugins; a guess from the calls comes last (see
`outcomes`). docs/feedback.md has the rules in words.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(frozen=True)
class OutcomeRules:
    """Which values say that a run was a success."""

    success_metrics: tuple[str, ...] = ("success", "resolved", "correct", "accepted", "thumbs_up")
    """Metrics whose values decide. A boolean counts as it is, a number against its threshold; texts decide nothing."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Smallest number that is a success, by metric."""
    threshold: float = 0.5
    """The same for metrics that are not in `thresholds`."""
    sources: tuple[str, ...] = ("feedback", "verifier", "plugin")
    """Whose word counts, the first one first; a source that is left out labels nothing. Guesses come last."""


class Outcome(NamedTuple):
    """How a run ended, as far as its calls tell."""

    success: bool | None
    source: str
    finished: bool


class Value(NamedTuple):
    """One value that was given to a run or to one of its calls."""

    at: float
    target: str
    """The call's id; empty: the whole run."""
    metric: str
    source: str
    value: bool | float | str | None
    """None: taken back."""


def judge(values: Iterable[Value], rules: OutcomeRules) -> Outcome | None:
    """The label that the values of one run give it; None when they have no opinion.

    Of each (target, metric, source) the newest counts. Within the first source that has an opinion, values about the
    run beat values about its calls; of several, one failure is a failure.
    """
    newest = {(value.target, value.metric, value.source): value for value in sorted(values, key=_at)}
    opinions = [(value, good) for value in newest.values() if (good := _good(value, rules)) is not None]
    for kind in rules.sources:
        for about_run in (True, False):
            found = [one for one in opinions if kind_of(one[0].source) == kind and about_run != bool(one[0].target)]
            if found:
                value, good = min(found, key=lambda one: (one[1], -one[0].at))
                return Outcome(good, label_of(value.source), finished=about_run)
    return None


def _at(value: Value) -> float:
    return value.at


def _good(value: Value, rules: OutcomeRules) -> bool | None:
    if value.metric not in rules.success_metrics or value.value is None or isinstance(value.value, str):
        return None
    if isinstance(value.value, bool):
        return value.value
    return value.value >= rules.thresholds.get(value.metric, rules.threshold)


def kind_of(source: str) -> str:
    """`verifier`, `plugin`, or `feedback` for everybody else."""
    head = source.partition(":")[0]
    return head if head in ("verifier", "plugin") else "feedback"


def label_of(source: str) -> str:
    """The source of a label, as stored with the run: `feedback`, `feedback:NAME`, `verifier:NAME`, `plugin:NAME`."""
    if kind_of(source) != "feedback":
        return source
    return f"feedback:{source}" if source else "feedback"
