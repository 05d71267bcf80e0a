"""The step graph of a pattern: which action follows which within its runs, how often, and at what cost.

An action is typed: the tools that an answer calls, or the kind of an answer without any. Work repeats where runs take
the same path, and where one run does the very same thing again: both are listed, each share with its n.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .shares import Share, share_of
from .steps import Run, Step

START, END = "(start)", "(end)"
MOST_PATHS = 10

Cost = Callable[[str, float, float], float | None]
"""Dollars of (model, prompt tokens, completion tokens); None when the price is unknown."""


@dataclass(frozen=True)
class Node:
    """One typed action."""

    action: str
    calls: int
    runs: int
    """Runs in which it occurs."""
    prompt_tokens: int
    completion_tokens: int
    dollars: float | None
    """None: a price or a token count is unknown. Calls that a student served cost nothing."""
    repeated: Share
    """Calls that do exactly what an earlier step of their run did: same tools, same arguments, or the same text."""


@dataclass(frozen=True)
class Edge:
    """One action after another."""

    before: str
    after: str
    share: Share
    """Of the steps that follow `before`, the end among them."""
    prompt_tokens: int
    """Of the calls that `after` stands for."""
    completion_tokens: int
    dollars: float | None


@dataclass(frozen=True)
class Path:
    """A whole run as a sequence of typed actions."""

    actions: tuple[str, ...]
    share: Share
    """Of all runs."""


@dataclass(frozen=True)
class StepGraph:
    """All of it, the most frequent first."""

    runs: int
    calls: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    paths: tuple[Path, ...]
    """The most frequent ones."""
    different_paths: int


def step_graph(runs: Sequence[Run], cost: Cost) -> StepGraph:
    """The graph of these runs."""
    steps = [step for run in runs for step in run.steps]
    nodes = [_node(action, members, runs, cost) for action, members in _groups(steps).items()]
    paths = Counter(tuple(step.label for step in run.steps) for run in runs)
    common = sorted(paths.items(), key=lambda item: (-item[1], item[0]))[:MOST_PATHS]
    return StepGraph(
        runs=len(runs),
        calls=len(steps),
        nodes=tuple(sorted(nodes, key=lambda node: (-node.calls, node.action))),
        edges=tuple(_edges(runs, cost)),
        paths=tuple(Path(actions, share_of(count, len(runs))) for actions, count in common),
        different_paths=len(paths),
    )


def _groups(steps: Iterable[Step]) -> dict[str, list[Step]]:
    groups: dict[str, list[Step]] = {}
    for step in steps:
        groups.setdefault(step.label, []).append(step)
    return groups


def _node(action: str, members: list[Step], runs: Sequence[Run], cost: Cost) -> Node:
    inside = {step.trajectory_id for step in members}
    repeated = sum(_again(run, action) for run in runs if run.trajectory_id in inside)
    prompt, completion, dollars = _spent(members, cost)
    return Node(action, len(members), len(inside), prompt, completion, dollars, share_of(repeated, len(members)))


def _again(run: Run, action: str) -> int:
    """Steps of a run that do exactly what an earlier one did."""
    exact = Counter(step.exact for step in run.steps if step.label == action)
    return sum(count - 1 for count in exact.values())


def _edges(runs: Sequence[Run], cost: Cost) -> list[Edge]:
    taken: dict[tuple[str, str], list[Step]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for run in runs:
        labels = [START, *(step.label for step in run.steps), END]
        for before, after, step in zip(labels, labels[1:], [*run.steps, None], strict=False):
            counts[before, after] += 1
            taken.setdefault((before, after), []).extend([step] if step else [])
    leaving: Counter[str] = Counter()
    for (before, _), count in counts.items():
        leaving[before] += count
    ordered = sorted(counts, key=lambda edge: (-counts[edge], edge))
    return [Edge(*edge, share_of(counts[edge], leaving[edge[0]]), *_spent(taken[edge], cost)) for edge in ordered]


def _spent(steps: Iterable[Step], cost: Cost) -> tuple[int, int, float | None]:
    """Prompt tokens, completion tokens and dollars."""
    prompt = completion = 0
    dollars: float | None = 0.0
    for step in steps:
        prompt, completion = prompt + step.prompt_tokens, completion + step.completion_tokens
        if step.route != "teacher":
            continue
        paid = cost(step.model, step.prompt_tokens, step.completion_tokens) if step.counted else None
        dollars = None if dollars is None or paid is None else dollars + paid
    return prompt, completion, dollars


def as_dot(graph: StepGraph) -> str:
    """The graph in Graphviz's language; thicker lines are more frequent."""
    most = max((edge.share.count for edge in graph.edges), default=1)
    lines = ["digraph steps {", "  rankdir=LR; node [shape=box, fontname=sans];"]
    for node in graph.nodes:
        text = f"{node.action}\n{node.calls} calls, {node.prompt_tokens + node.completion_tokens} tokens"
        lines.append(f"  {_quoted(node.action)} [label={_quoted(text)}];")
    for edge in graph.edges:
        share, width = edge.share, 1 + 4 * edge.share.count / most
        label = f"{share.count} of {share.n}"
        ends = f"{_quoted(edge.before)} -> {_quoted(edge.after)}"
        lines.append(f"  {ends} [label={_quoted(label)}, penwidth={width:.1f}];")
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
