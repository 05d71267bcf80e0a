"""Intents: what the sessions of a pattern are about, found offline by grouping what they were asked (docs/intents.md).

A pattern says how a call is made; its intents say what for. They are for people to read, and for the curator to take
its sessions from all of them instead of from the loudest. Nothing is routed by them.

This is the part without a model: the texts, the names, the ids, the file. `distill.intents` does the grouping.
Invariants: an id is given once, and a group that persists keeps its id from run to run. The file holds ids of sessions
and single words that at least two different texts, or three sessions with one text, share; never a text: what is
deleted from the store is not kept here.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from .canonical import loads
from .errors import BadInput
from .facts import digest
from .layout import DataDir, publish
from .lookup import Link, bodies_of, ids_table, links_up
from .newest import newest
from .store import Store

OTHER = "i_other"
"""The id for sessions that are like too few others to make an intent."""
_WORD = re.compile(r"[^\W\d_]{3,}")
_SAME_MEMBERS = 0.5
_SAME_CENTRE = 0.9

Item = TypeVar("Item")


class Opening(NamedTuple):
    """What a session was asked at first."""

    trajectory_id: str
    text: str


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """One group of sessions."""

    intent_id: str
    name: str
    """Its most distinguishing words, for people."""
    sessions: tuple[str, ...]
    """Trajectory ids."""
    examples: tuple[str, ...] = ()
    """Trajectory ids of the sessions nearest to the centre, with different texts."""
    centre: tuple[float, ...] = ()
    """Mean direction of its embeddings, unit length; empty for OTHER."""


class IntentBook(msgspec.Struct, frozen=True, kw_only=True):
    """All intents of a pattern, the largest first."""

    pattern_id: str
    found_at: float
    """Unix seconds."""
    model: str
    """What made the embeddings; centres of different models are not compared."""
    cut: float = 0.0
    """Distance at which the tree was cut; the next run keeps to it while it fits."""
    intents: tuple[Intent, ...]

    def by_session(self) -> dict[str, str]:
        """Intent id by trajectory id."""
        return {session: intent.intent_id for intent in self.intents for session in intent.sessions}


def openings_of(store: Store, pattern_id: str, limit: int = 5_000) -> list[Opening]:
    """For the newest sessions of a pattern the first user message of their conversation, the newest session first."""
    sql = """
        SELECT trajectory_id, max(started_at) FROM calls
        WHERE pattern_id = ? AND trajectory_id IS NOT NULL AND request_tail IS NOT NULL AND started_at >= ?
        GROUP BY trajectory_id ORDER BY max(started_at) DESC, trajectory_id LIMIT ?
    """
    found = newest(store, limit, lambda since: store.rows(sql, [pattern_id, since, limit]), [pattern_id])
    tails = _first_tails(store, pattern_id, dict(found))
    links = links_up(store, tails.values())
    asked = _asked(store, links, set(tails.values()))
    return [Opening(name, asked[tails[name]]) for name, _ in found if name in tails and tails[name] in asked]


def _first_tails(store: Store, pattern_id: str, runs: Mapping[str, float]) -> dict[str, UUID]:
    """The last message of each run's first request under the pattern; `runs` says when the last one began."""
    # One pass over the newest runs; so many looks into the index take longer.
    spans = f"""
        SELECT first_at, last_at FROM trajectories SEMI JOIN batch ON trajectory_id = id
        WHERE last_at >= {min(runs.values(), default=0.0)!r}::DOUBLE
    """
    sql = """
        SELECT trajectory_id, arg_min(request_tail, started_at) FROM calls
        WHERE pattern_id = ? AND list_contains(?, trajectory_id) AND request_tail IS NOT NULL
            AND started_at BETWEEN ? AND ? GROUP BY trajectory_id
    """
    found = store.join(spans, ids_table(runs))
    first, last = min((at for at, _ in found), default=0.0), max((at for _, at in found), default=0.0)
    return dict(store.rows(sql, [pattern_id, list(runs), first, last]))


def _asked(store: Store, links: Mapping[UUID, Link], tails: Collection[UUID]) -> dict[UUID, str]:
    """The text of the first user message above each tail; tails without one are left out."""
    firsts: dict[UUID, UUID] = {}
    for tail in tails:
        at: UUID | None = tail
        while at is not None and at in links:
            if links[at].role == "user":
                firsts[tail] = at
            at = links[at].parent_id
    bodies = bodies_of(store, {name: links[name] for name in firsts.values()})
    texts = {name: _text(loads(body.encode()).get("content")) for name, body in bodies.items()}
    return {tail: texts[name] for tail, name in firsts.items() if name in texts}


def _text(content: Any) -> str:
    """The words of a message's content, which may come in parts."""
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and part.get("text"))
    return content if isinstance(content, str) else ""


def names_for(groups: Sequence[Sequence[str]], words: int = 3) -> list[str]:
    """A name for each group of texts: words that are frequent in it and rare in the others.

    A word counts once a different text, and one that only a single text of a larger group has is left out. Scored by
    share in the group x log2(share in the group / share in all), the pointwise Kullback-Leibler divergence.
    """
    counted = [_words(group) for group in groups]
    totals = [len(set(group)) for group in groups]
    everywhere: Counter[str] = Counter()
    for one in counted:
        everywhere.update(one)
    names: list[str] = []
    for one, total in zip(counted, totals, strict=True):
        scores = {
            word: n / total * math.log2((n / total) / (everywhere[word] / sum(totals)))
            for word, n in one.items()
            if n >= min(2, total)
        }
        ranked = sorted(scores, key=lambda word: (-scores[word], word))
        name = " ".join(ranked[:words]) or "unnamed"
        names.append(name if name not in names else f"{name} ({len(names) + 1})")
    return names


def _words(texts: Iterable[str]) -> Counter[str]:
    return Counter(word for text in set(texts) for word in set(_WORD.findall(text.lower())))


def with_known_ids(pattern_id: str, groups: Sequence[Intent], known: IntentBook | None, model: str) -> list[Intent]:
    """The groups with the ids of the known intents that they continue; new ids for the others.

    A group continues the intent with which it shares at least half of the sessions that both runs have seen, counted on
    the smaller side; if they share none, the one whose centre is nearest, at a cosine of at least 0.9.
    """
    ids: dict[int, str] = {}
    pairs = sorted(
        (
            (-likeness, at, intent.intent_id)
            for at, group in enumerate(groups)
            for intent in (known.intents if known else ())
            if intent.intent_id != OTHER
            and (likeness := _likeness(group, intent, known is not None and known.model == model))
        ),
    )
    for _, at, intent_id in pairs:
        if at not in ids and intent_id not in ids.values():
            ids[at] = intent_id
    return [
        msgspec.structs.replace(group, intent_id=ids.get(at) or _new_id(pattern_id, group))
        for at, group in enumerate(groups)
    ]


def _likeness(group: Intent, intent: Intent, same_model: bool) -> float:
    """1 to 2 for common sessions, 0 to 1 for near centres, 0 for two different things."""
    smaller = min(len(group.sessions), len(intent.sessions))
    share = len({*group.sessions} & {*intent.sessions}) / smaller if smaller else 0.0
    if share:
        return 1.0 + share if share >= _SAME_MEMBERS else 0.0
    if not same_model or len(group.centre) != len(intent.centre):
        return 0.0
    cosine = sum(a * b for a, b in zip(group.centre, intent.centre, strict=True))
    return cosine if cosine >= _SAME_CENTRE else 0.0


def _new_id(pattern_id: str, group: Intent) -> str:
    return "i_" + digest("intent", pattern_id, *sorted(group.sessions), size=4)


def read_book(data: DataDir, pattern_id: str) -> IntentBook | None:
    """The stored intents of a pattern; None when none have been looked for. Raises BadInput for a damaged file."""
    path = data.root / "intents" / f"{pattern_id}.json"
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=IntentBook)
    except msgspec.DecodeError as error:
        raise BadInput(
            f"{path} cannot be read: {error}. Remove it and run: tutelage patterns intents {pattern_id} --find"
        ) from error


def write_book(data: DataDir, book: IntentBook) -> None:
    """Store the intents of a pattern in place of earlier ones."""
    folder = data.root / "intents"
    folder.mkdir(parents=True, exist_ok=True)
    publish(folder / f"{book.pattern_id}.json", msgspec.json.encode(book))


def forget(data: DataDir, store: Store) -> int:
    """Have the books forget sessions that are no longer in the store; returns how many books have changed.

    An intent that has lost sessions is named anew by the texts that are left. A book that cannot be read is left as it
    is. Safe to repeat.
    """
    changed = 0
    for path in sorted((data.root / "intents").glob("*.json")):
        try:
            book = read_book(data, path.stem)
        except BadInput:
            continue
        left = _left(store, book) if book else None
        if book is None or left == book.intents:
            continue
        changed += 1
        if left:
            write_book(data, msgspec.structs.replace(book, intents=left))
        else:
            path.unlink()
    return changed


def _left(store: Store, book: IntentBook) -> tuple[Intent, ...]:
    """The intents with those of their sessions that are in the store; empty ones are gone."""
    asked = ids_table(book.by_session())
    known = {
        name
        for (name,) in store.join("SELECT trajectory_id FROM trajectories SEMI JOIN batch ON id = trajectory_id", asked)
    }
    if len(known) == len(asked):
        return book.intents
    texts = dict(openings_of(store, book.pattern_id))
    names = names_for([[texts[one] for one in intent.sessions if one in texts] for intent in book.intents])
    left = []
    for intent, name in zip(book.intents, names, strict=True):
        sessions = tuple(one for one in intent.sessions if one in known)
        examples = tuple(one for one in intent.examples if one in known)
        same = len(sessions) == len(intent.sessions) or intent.intent_id == OTHER
        kept = msgspec.structs.replace(intent, sessions=sessions, examples=examples, name=intent.name if same else name)
        left += [kept] if sessions else []
    return tuple(left)


def sessions_of(data: DataDir, pattern_ids: Iterable[str]) -> dict[str, str]:
    """Intent id by trajectory id over several patterns of one agent; the first pattern that knows a session decides."""
    found: dict[str, str] = {}
    for pattern_id in pattern_ids:
        book = read_book(data, pattern_id)
        for session, intent_id in book.by_session().items() if book else ():
            found.setdefault(session, intent_id)
    return found


def balanced(items: Sequence[Item], intent_of: Callable[[Item], str], limit: int) -> list[Item]:
    """At most `limit` items, one of each intent in turn, in their order within each; small intents come whole."""
    queues: dict[str, list[Item]] = {}
    for item in items:
        queues.setdefault(intent_of(item), []).append(item)
    turns = sorted(
        ((place, at, item) for at, queue in enumerate(queues.values()) for place, item in enumerate(queue)),
        key=lambda turn: turn[:2],
    )
    chosen = {id(item) for _, _, item in turns[: max(0, limit)]}
    return [item for item in items if id(item) in chosen]


def described(book: IntentBook, texts: Mapping[str, str], longest: int = 200) -> list[dict[str, object]]:
    """Rows for people: id, name, sessions, share, and the examples whose texts are still in the store.

    `texts`: opening by trajectory id; of each the first `longest` characters are shown."""
    total = sum(len(intent.sessions) for intent in book.intents) or 1
    return [
        {
            "intent_id": intent.intent_id,
            "name": intent.name,
            "sessions": len(intent.sessions),
            "share": round(len(intent.sessions) / total, 4),
            "examples": [texts[one][:longest] for one in intent.examples if one in texts],
        }
        for intent in book.intents
    ]
