"""What is kept between two questions is at every moment what the whole query gives, whatever has happened."""

import random
from typing import Any

import msgspec
import pytest

from tutelage.proxy import session_rows, sessions
from tutelage.proxy.session_rows import SessionRows
from tutelage.proxy.sessions import Scope
from tutelage.proxy.shadow import AUDIT, SHADOW
from tutelage.traffic.records import CallRecord, encode
from tutelage.traffic.retention import Keep, Rules, prune
from tutelage.traffic.rollup import KEPT_CHANGES


class Asked:
    """The query of a scope, with a note of how it was narrowed."""

    def __init__(self, store: Any, scope: Scope) -> None:
        self.store, self.scope = store, scope
        self.narrowed: list[str] = []

    def __call__(self, among: str) -> list[dict[str, Any]]:
        self.narrowed.append(among)
        return sessions.asked(self.store, self.scope, among)


def key(scope: Scope) -> tuple[str, str, str]:
    return scope.pattern_id, scope.student, scope.kind


@pytest.fixture
def world(control_world: Any) -> Any:
    control_world.play(40)
    control_world.add_student()
    return control_world


def again(world: Any, record: CallRecord) -> None:
    """The agent's client library sends a call once more."""
    world.now += 1.0
    repeated = world.record(retry=1)
    world.writer.append(encode(msgspec.structs.replace(repeated, request=record.request)))
    world.writer.flush()
    world.plane.catch_up()


def happen(world: Any, chance: random.Random) -> None:
    """Something that may change sessions."""
    what = chance.choice(("play", "play", "served", "fell back", "label", "audit", "retry", "word", "idle", "prune"))
    served = {"route": "student", "student": chance.choice((world.version, "other@1"))}
    if what == "play":
        world.play(chance.randrange(1, 5), **chance.choice(({}, {"cancelled": True}, {"trajectory": "one' run"})))
    elif what == "served":
        world.play(2, **served)
    elif what == "fell back":
        world.play(1, student=world.version, fallback=chance.choice(("student_timeout", "student_unreachable")))
    elif what in ("label", "audit"):
        world.label(SHADOW if what == "label" else AUDIT, loss=chance.random())
    elif what == "retry":
        record = world.record()
        world.writer.append(encode(record))
        again(world, record)
    elif what == "word":
        world.label(SHADOW)
        pairs = world.plane.store.query("SELECT call_id, student, kind FROM comparisons ORDER BY ALL")
        if pairs:
            say(world, chance.choice(pairs), chance)
    elif what == "idle":
        world.idle()
    else:
        world.now += 4_000.0
        prune(world.plane.store, Rules(Keep(days=chance.choice((0.1, 0.05)))), world.now)


def say(world: Any, pair: dict[str, Any], chance: random.Random) -> None:
    from tutelage.proxy.verdicts import PairKey, person_says

    verdict = chance.choice(("accept", "reject", "withdraw"))
    person_says(world.plane.store, PairKey(**pair), verdict, "somebody", "", world.now)


@pytest.mark.parametrize("seed", range(2))
def test_what_is_kept_is_what_the_whole_query_gives(world: Any, seed: int) -> None:
    chance, kept = random.Random(seed), SessionRows()
    store, begin = world.plane.store, world.now
    scopes = [
        Scope(world.pattern, student, kind, after=after)
        for student in (world.version, "other@1")
        for kind in (SHADOW, AUDIT)
        for after in (0.0,)
    ]
    seen = 0
    for step in range(24):
        happen(world, chance)
        for scope in scopes:
            # Scopes of live versions move on with the days.
            moved = Scope(scope.pattern_id, scope.student, scope.kind, after=0.0 if step < 12 else begin + 10)
            found = kept.get(store, key(moved), moved.after, Asked(store, moved))
            assert found == sessions.asked(store, moved)
            seen += len(found)
    assert seen > 60


def test_only_what_changed_is_asked_for_again(world: Any) -> None:
    scope, kept = Scope(world.pattern, world.version, SHADOW), SessionRows()
    ask = Asked(world.plane.store, scope)
    assert len(kept.get(world.plane.store, key(scope), 0.0, ask)) == 40
    assert kept.get(world.plane.store, key(scope), 0.0, ask)
    assert ask.narrowed == [""]
    ids = world.play(2)
    assert len(kept.get(world.plane.store, key(scope), 0.0, ask)) == 42
    assert len(ask.narrowed) == 2
    assert all(call_id in ask.narrowed[1] for call_id in ids)
    world.play(3, trajectory="elsewhere")
    other = Scope("p_other", world.version, SHADOW)
    assert kept.get(world.plane.store, key(other), 0.0, Asked(world.plane.store, other)) == []


def test_an_earlier_moment_and_forgotten_changes_are_asked_for_whole(world: Any) -> None:
    scope, kept, store = Scope(world.pattern, world.version, SHADOW), SessionRows(), world.plane.store
    ask = Asked(store, scope)
    kept.get(store, key(scope), world.now + 5, ask)
    kept.get(store, key(scope), 0.0, ask)
    store.execute("UPDATE changes SET revision = revision + ?", [KEPT_CHANGES])
    assert len(kept.get(store, key(scope), 0.0, ask)) == 40
    assert ask.narrowed == ["", "", ""]


def test_one_book_for_a_store(world: Any) -> None:
    assert session_rows.session_rows(world.plane.store) is session_rows.session_rows(world.plane.store)
