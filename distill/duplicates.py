"""Near-duplicates: sessions that ask nearly the same and are answered the same.

Two sessions are near-duplicates when the teacher took the same actions in both (same tools, same arguments, same texts)
and what the users said is alike: by the cosine of sentence embeddings where the extra `intents` is installed, else by
the share of common word pairs (Jaccard, estimated with MinHash; Broder 1997). Sessions that sound alike and are
answered otherwise are no duplicates: they teach the difference.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..traffic.canonical import canonical_message
from ..traffic.errors import MissingExtra
from .curate import Message, Trajectory
from .intents import Embed, minilm

Vectors = Callable[[Sequence[str]], Any]
"""Texts to an array of (texts, features)."""
_SIGNS = 128
"""Hash functions of MinHash: the estimate's standard error is at most 1 / (2·√128) = 0.044."""
_PRIME = (1 << 31) - 1


class Likeness:
    """How alike texts are, 0 to 1, and from where on they count as nearly the same."""

    def __init__(self, vectors: Vectors, compare: Callable[[Any, Any], Any], threshold: float, name: str) -> None:
        self._vectors, self._compare = vectors, compare
        self.threshold = threshold
        self.name = name

    def vectors(self, texts: Sequence[str]) -> Any:
        """What `alike` compares, a row a text."""
        return self._vectors(texts)

    def alike(self, one: Any, others: Any) -> bool:
        """Whether a row is nearly the same as any of the others, an array of (rows, features)."""
        return bool(len(others)) and bool((self._compare(one, others) >= self.threshold).any())


def by_embedding(embed: Embed, threshold: float = 0.92) -> Likeness:
    """Cosine of sentence embeddings of unit length."""
    return Likeness(embed, lambda one, others: others @ one, threshold, "embeddings")


def by_words(threshold: float = 0.7) -> Likeness:
    """Share of common word pairs, estimated with MinHash."""
    return Likeness(_signatures, lambda one, others: (others == one).mean(axis=1), threshold, "minhash")


def best_likeness() -> Likeness:
    """Embeddings where their model is installed, word pairs otherwise."""
    try:
        return by_embedding(minilm())
    except MissingExtra:
        return by_words()


def _signatures(texts: Sequence[str]) -> Any:
    import numpy as np

    rng = np.random.default_rng(1)
    factors, offsets = rng.integers(1, _PRIME, _SIGNS), rng.integers(0, _PRIME, _SIGNS)
    found = np.empty((len(texts), _SIGNS), dtype=np.int64)
    for row, text in enumerate(texts):
        hashes = np.array([int.from_bytes(_hash(pair)) % _PRIME for pair in _pairs(text)], dtype=np.int64)
        found[row] = ((hashes[:, None] * factors + offsets) % _PRIME).min(axis=0)
    return found


def _pairs(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(pair) for pair in zip(["", *words], [*words, ""], strict=True)}


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=4).digest()


def said(item: Trajectory) -> str:
    """What the users said in a session."""
    texts = [message.get("content") for message in item.messages if message.get("role") == "user"]
    return "\n".join(text if isinstance(text, str) else str(text) for text in texts)


def actions(item: Trajectory) -> bytes:
    """A digest of what the teacher did, without the ids of calls."""
    digest = hashlib.sha256()
    for call in item.trainable:
        digest.update(canonical_message(bare(item.messages[call.index])) + b"\0")
    return digest.digest()


def bare(answer: Message) -> Message:
    """An answer without the ids of its calls."""
    calls = [{"function": call.get("function")} for call in answer.get("tool_calls") or []]
    return {**answer, "tool_calls": calls} if calls else answer


def values(text: str) -> frozenset[str]:
    """The words with digits or an `@`: other numbers ask for other things, however alike the sentences are."""
    return frozenset(word.strip(".,;:!?()\"'") for word in text.lower().split() if re.search(r"[\d@]", word))


def without_near_duplicates(
    items: Sequence[Trajectory], likeness: Callable[[], Likeness], apart_from: Sequence[Trajectory] = ()
) -> tuple[list[Trajectory], list[Trajectory]]:
    """(kept, near-duplicates) of `items`, in their order; the first of several is kept.

    What is a near-duplicate of one of `apart_from` is not kept either: the examination would know it. `likeness` is
    made only when something has to be compared: a model of sentences takes seconds to load."""
    groups: dict[tuple[bytes, frozenset[str]], list[tuple[Trajectory, bool]]] = {}
    for item, fixed in [*((one, True) for one in apart_from), *((one, False) for one in items)]:
        groups.setdefault((actions(item), values(said(item))), []).append((item, fixed))
    several = [members for members in groups.values() if not all(fixed for _, fixed in members) and len(members) > 1]
    scale = likeness() if several else None
    dropped = {name for members in several if scale for name in _repeated(members, scale)}
    kept = [item for item in items if item.trajectory_id not in dropped]
    return kept, [item for item in items if item.trajectory_id in dropped]


def _repeated(members: Sequence[tuple[Trajectory, bool]], likeness: Likeness) -> set[str]:
    rows = likeness.vectors([said(item) for item, _ in members])
    kept: list[int] = []
    dropped: set[str] = set()
    for place, (item, fixed) in enumerate(members):
        if not fixed and likeness.alike(rows[place], rows[kept]):
            dropped.add(item.trajectory_id)
        else:
            kept.append(place)
    return dropped
