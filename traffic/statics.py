"""Finding skeletons in prompts that are alike but not equal.

When a few prompts make up all calls, each of them is a kind of its own: nothing varies inside them, and merging them
would merge tasks. Otherwise a line that nearly all prompts share is constant, and a line that a good part of them
share, but not all, may mark a kind of prompts: the prompts are split on it, and the parts looked at separately. So
text that differs with each call becomes a gap, while two agents that happen to use the same tools are kept apart.
"""

from collections import Counter
from difflib import SequenceMatcher

from .skeleton import GAP, WILD, Skeleton

Prompt = tuple[str, ...]
"""Reduced lines."""

NEARLY_ALL = 0.9
"""From this share of the prompts on, a line is constant, and a prompt without it is an outlier."""
GOOD_PART = 0.2
"""From this share on, a line marks a kind of prompts of its own; where no tools tell tasks apart, from half of it."""
IN_TURN = 0.8
"""Lines that take turns, one to a prompt, and fill this share of the prompts are kinds, whatever else varies."""
FEW = 1 / 3
"""Up to so many different prompts per call, the prompts are kinds and not variations."""
CLEAR_CHARACTERS = 200
"""So much constant text makes a skeleton clear; less does when it is half of the prompt, or when there are tools."""
MOST_LINES = 10_000
"""Longer prompts are not aligned."""


def find_skeletons(prompts: list[Prompt], least: int, has_tools: bool) -> list[Skeleton]:
    """The skeletons that at least `least` of the prompts each support, in an order that depends on the prompts only.

    Empty as long as nothing is clear.
    """
    counts = Counter(prompt for prompt in prompts if prompt)
    if len(counts) <= FEW * counts.total():
        return [Skeleton(prompt) for prompt, count in sorted(counts.items()) if count >= least]
    prompts = [prompt for prompt in prompts if 0 < len(prompt) <= MOST_LINES]
    found = [_skeleton_of(group, least, has_tools) for group in _split(prompts, least, has_tools)]
    return [skeleton for skeleton in found if skeleton is not None]


def informative(line: str) -> bool:
    """Whether a line says enough to tell prompts apart: not blank, a rule or a bracket."""
    return sum(map(str.isalpha, line)) >= 6


def _holders(prompts: list[Prompt]) -> dict[str, int]:
    """For each informative line the prompts that hold it, as a set of bits."""
    holders: dict[str, int] = {}
    for number, prompt in enumerate(prompts):
        for line in set(prompt):
            if informative(line):
                holders[line] = holders.get(line, 0) | 1 << number
    return holders


def _split(prompts: list[Prompt], least: int, has_tools: bool) -> list[list[Prompt]]:
    """Groups of at least `least` prompts without a line that marks a kind among them."""
    if len(prompts) < least:
        return []
    mark = _mark(prompts, max(least, GOOD_PART * len(prompts)) if has_tools else max(3, GOOD_PART / 2 * len(prompts)))
    if not mark:
        return [prompts]
    having = [prompt for prompt in prompts if mark in prompt]
    lacking = [prompt for prompt in prompts if mark not in prompt]
    return _split(having, least, has_tools) + _split(lacking, least, has_tools)


def _mark(prompts: list[Prompt], low: float) -> str:
    """The line that best divides the prompts into kinds; empty when none does."""
    total = len(prompts)
    partial = {line: held for line, held in _holders(prompts).items() if held.bit_count() < NEARLY_ALL * total}
    marks = {line: held for line, held in partial.items() if held.bit_count() >= low}
    recurring = sorted({held for held in partial.values() if held.bit_count() > 1}, key=lambda held: -held.bit_count())
    for line in sorted(marks, key=lambda line: (abs(2 * marks[line].bit_count() - total), line)):
        crossed = any(marks[line] & other not in (0, other, marks[line]) for other in marks.values())
        if not crossed or _divides(marks[line], recurring, total):
            return line
    return ""


def _divides(held: int, recurring: list[int], total: int) -> bool:
    """Whether the prompts without a line have another in its place: alternatives exclude each other and fill the rest.

    Passages and examples that come and go, several to a prompt, recur as well; but they do not take turns.
    """
    taken = held
    for other in recurring:
        if not other & taken:
            taken |= other
    rest = total - held.bit_count()
    return (taken & ~held).bit_count() >= IN_TURN * rest


def _skeleton_of(prompts: list[Prompt], least: int, has_tools: bool) -> Skeleton | None:
    most = NEARLY_ALL * len(prompts)
    constant = {line for line, held in _holders(prompts).items() if held.bit_count() >= most}
    members = [prompt for prompt in prompts if constant.issubset(prompt)]
    if len(members) < least:
        return None
    skeleton = _fill_gaps(Skeleton(tuple(_align(members, constant))), members)
    length = sum(len(line) for prompt in members for line in prompt) / len(members)
    enough = min(CLEAR_CHARACTERS, length / 2) if not has_tools else 1
    clear = skeleton.size >= enough and any(informative(line.replace(WILD, "")) for line in skeleton.lines)
    return skeleton if clear and all(skeleton.matches("\n".join(prompt)) for prompt in members) else None


def _align(prompts: list[Prompt], constant: set[str]) -> list[str]:
    """The lines that all prompts share in order, with GAP where anything differs.

    Lines that stand once in every prompt are the anchors; whatever all prompts have next to an anchor belongs to it.
    """
    counts = [Counter(prompt) for prompt in prompts]
    repeated = {line for count in counts for line, times in count.items() if times > 1}
    # A telling line that comes more or less often, as `state: on` in a list, says something wherever it stands.
    loose = {line for line in repeated if informative(line) and len({count[line] for count in counts}) > 1}
    anchors = [line for line in prompts[0] if line in constant and line not in repeated]
    for prompt in dict.fromkeys(prompts):
        anchors = _common(anchors, [line for line in prompt if line in constant and line not in repeated])
    lines: list[str] = []
    starts = [0] * len(prompts)
    for anchor in anchors:
        ends = [prompt.index(anchor) for prompt in prompts]
        between = [prompt[start:end] for prompt, start, end in zip(prompts, starts, ends, strict=True)]
        lines += [*_shared(between, loose), anchor]
        starts = [end + 1 for end in ends]
    return lines + _shared([prompt[start:] for prompt, start in zip(prompts, starts, strict=True)], loose)


def _common(one: list[str], other: list[str]) -> list[str]:
    """Lines common to both in the same order."""
    blocks = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    return [line for block in blocks for line in one[block.a : block.a + block.size]]


def _shared(pieces: list[Prompt], loose: set[str]) -> list[str]:
    """Lines that all pieces begin and end with, and a GAP between; no GAP when all are equal."""
    if len(set(pieces)) == 1:
        return list(pieces[0])
    head = _same_start(pieces, loose)
    tail = _same_start([piece[head:][::-1] for piece in pieces], loose)
    return [*pieces[0][:head], GAP, *pieces[0][len(pieces[0]) - tail :]]


def _same_start(pieces: list[Prompt], loose: set[str]) -> int:
    for number, column in enumerate(zip(*pieces, strict=False)):
        if column[0] in loose or len(set(column)) > 1:
            return number
    return min(map(len, pieces))


def _fill_gaps(skeleton: Skeleton, prompts: list[Prompt]) -> Skeleton:
    """Gaps that are one line in every prompt become that line with WILD where it differs, if enough of it is equal."""
    contents = [skeleton.gaps("\n".join(prompt)) for prompt in prompts]
    lines, number = list(skeleton.lines), 0
    for index, line in enumerate(lines):
        if line != GAP:
            continue
        fillings = [content[number] for content in contents]
        number += 1
        if all(len(filling) == 1 for filling in fillings):
            lines[index] = _template([filling[0] for filling in fillings]) or GAP
    return Skeleton(tuple(lines))


def _template(variants: list[str]) -> str:
    """`The user is ⟨*⟩, a customer.` for lines that share words at either end; empty when they share too little."""
    if len(set(variants)) == 1:
        return variants[0]
    words = [line.split(" ") for line in dict.fromkeys(variants)]
    shortest = min(map(len, words)) - 1  # a word at least is left for the wild part
    head = next((i for i in range(shortest) if len({line[i] for line in words}) > 1), shortest)
    tail = next((i for i in range(shortest - head) if len({line[-1 - i] for line in words}) > 1), shortest - head)
    start, end = " ".join(words[0][:head]), " ".join(words[0][len(words[0]) - tail :])
    template = " ".join(part for part in (start, WILD, end) if part)
    return template if informative(start + end) and len(start) + len(end) >= max(map(len, variants)) / 2 else ""
