"""Places in a cache of keys and values: which one a call gets, and what of its prompt is known already.

A place keeps the tokens of its last call, so that the next turn of the same conversation is read from where it was
left. Where another place knows more of a prompt (the same opening, or the same prompt written several times), that
part is copied, which costs a hundredth of reading it. What is known is known for one adapter only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Place:
    """One sequence in the cache."""

    index: int
    owner: object = None
    """The adapter that its tokens were read with."""
    tokens: list[int] = field(default_factory=list)
    busy: bool = False
    used: int = 0
    """When it was taken last; the larger, the later."""


class Places:
    """A fixed number of places. `copy(source, target, count)` copies the first positions of one to another."""

    def __init__(self, count: int, copy: Callable[[int, int, int], None]) -> None:
        self._all = [Place(index) for index in range(count)]
        self._copy, self._clock = copy, 0

    def take(self, prompt: Sequence[int], owner: object) -> tuple[Place, int] | None:
        """A place that was free, and how many tokens of the prompt it knows; never all, since the last one must be
        read to go on. None when all are busy."""
        free = [place for place in self._all if not place.busy]
        if not free:
            return None
        known = [_shared(place, prompt, owner) for place in self._all]
        best = max(self._all, key=lambda place: known[place.index])
        chosen = max(free, key=lambda place: (known[place.index], -place.used))
        if 2 * known[chosen.index] < len(chosen.tokens):
            # Most of what it holds belongs to another conversation, which may go on.
            chosen = min(free, key=lambda place: place.used)
        count = known[best.index]
        if count > known[chosen.index]:
            self._copy(best.index, chosen.index, count)
        chosen.owner, chosen.tokens = owner, list(prompt[:count])
        self._clock += 1
        chosen.busy, chosen.used = True, self._clock
        return chosen, count

    def give_back(self, place: Place) -> None:
        """The call has ended; the place keeps its tokens."""
        place.busy = False


def _shared(place: Place, prompt: Sequence[int], owner: object) -> int:
    if place.owner is not owner:
        return 0
    most = min(len(place.tokens), len(prompt) - 1)
    return next((at for at in range(most) if place.tokens[at] != prompt[at]), most)
