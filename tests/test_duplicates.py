"""Near-duplicates, by word pairs and by embeddings that are a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.curate import CallRef, Trajectory
from tutelage.distill.duplicates import (
    Likeness,
    actions,
    bare,
    by_embedding,
    by_words,
    said,
    values,
    without_near_duplicates,
)


def session(number: int, text: str, answer: str = "done", tool: str = "") -> Trajectory:
    message: dict[str, Any] = {"role": "assistant", "content": answer}
    if tool:
        function = {"name": tool, "arguments": "{}"}
        message["tool_calls"] = [{"id": f"c{number}", "type": "function", "function": function}]
    messages = [{"role": "user", "content": text}, message]
    calls = (CallRef(f"k{number}", 1, "p", "teacher", "m", float(number)),)
    return Trajectory(f"t{number}", f"s{number}", "a", True, "rule", [], messages, calls)


def names(items: Sequence[Trajectory]) -> list[str]:
    return [item.trajectory_id for item in items]


LONG = "please could you switch the big lamp in the living room on for me because it is dark"


def test_alike_and_answered_the_same() -> None:
    items = [session(1, LONG, tool="on"), session(2, LONG + " now", tool="on"), session(3, "stop", tool="on")]
    kept, near = without_near_duplicates(items, by_words)
    assert (names(kept), names(near)) == (["t1", "t3"], ["t2"])


def test_another_answer_or_another_number_is_no_duplicate() -> None:
    items = [
        session(1, f"{LONG} 4711", tool="on"),
        session(2, f"{LONG} 4711", tool="off"),
        session(3, f"{LONG} 4712", tool="on"),
    ]
    assert names(without_near_duplicates(items, by_words)[0]) == ["t1", "t2", "t3"]


def test_what_the_examination_holds_is_not_taught() -> None:
    kept, near = without_near_duplicates([session(1, LONG + " now")], by_words, [session(2, LONG)])
    assert (names(kept), names(near)) == ([], ["t1"])


def test_by_embedding() -> None:
    table = {"a": [1.0, 0.0], "b": [0.99, 0.14], "c": [0.0, 1.0]}

    def embed(texts: Sequence[str]) -> Any:
        return np.array([table[text] for text in texts])

    items = [session(number, text) for number, text in enumerate("abc")]
    kept, _ = without_near_duplicates(items, lambda: by_embedding(embed))
    assert names(kept) == ["t0", "t2"]


def test_the_scale_is_made_only_when_needed() -> None:
    def never() -> Likeness:
        raise AssertionError("nothing has to be compared")

    items = [session(1, "a", "x"), session(2, "b", "y")]
    assert names(without_near_duplicates(items, never)[0]) == ["t1", "t2"]
    assert names(without_near_duplicates([], never, [session(1, "a"), session(2, "a")])[0]) == []


@given(st.lists(st.text("ab c1", max_size=12), max_size=12))
def test_what_is_kept_holds_no_near_duplicates(texts: list[str]) -> None:
    items = [session(number, text) for number, text in enumerate(texts)]
    kept, near = without_near_duplicates(items, by_words)
    assert sorted(names(kept) + names(near)) == sorted(names(items))
    assert names(without_near_duplicates(kept, by_words)[0]) == names(kept)


def test_parts_of_a_session() -> None:
    one = session(1, "Hi", tool="on")
    assert said(one) == "Hi"
    assert actions(one) == actions(session(2, "other", tool="on")) != actions(session(3, "Hi", tool="off"))
    assert bare(one.messages[1])["tool_calls"] == [{"function": {"name": "on", "arguments": "{}"}}]
    assert values("order #4711, to A@b.de!") == {"#4711", "a@b.de"}
