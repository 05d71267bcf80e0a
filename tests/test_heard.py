"""What the machines have been told."""

from tutelage.proxy.heard import HeardSessions
from tutelage.proxy.states import Relabelled, Session

KEY = ("p_1", "lamp@1")


def test_the_newest_word_on_a_session_counts() -> None:
    heard = HeardSessions()
    heard.note(KEY, Session(kind="shadow", session="a", loss=1.0))
    heard.note(KEY, Session(kind="canary", session="b", loss=0.0))
    heard.note(KEY, Session(kind="live", session="c", loss=0.5))
    assert sorted(heard.scopes()) == [(KEY, "audit"), (KEY, "shadow")]
    assert heard.losses(KEY, "shadow") == {"a": 1.0}
    assert heard.losses(KEY, "audit") == {"b": 0.0, "c": 0.5}
    heard.note(KEY, Relabelled(kind="shadow", session="a", loss=0.0))
    assert heard.losses(KEY, "shadow") == {"a": 0.0}
    assert heard.event(KEY, "shadow", "a").kind == "shadow"
    assert heard.differs(KEY, "shadow", "a", 0.25)
    assert not heard.differs(KEY, "shadow", "a", 1e-12)
    assert heard.losses(("p_2", "lamp@1"), "shadow") == {}
