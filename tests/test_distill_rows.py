from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.curate import CallRef, Trajectory
from tutelage.distill.rows import MASKED, cut, rows_of
from tutelage.serving.render import prompt_segments, segments, token_ids
from tutelage.traffic.students import PromptSpec

SPEC = PromptSpec(skeleton=["You help."])
TOOLS: list[dict[str, Any]] = [
    {"type": "function", "function": {"name": "track", "parameters": {"type": "object", "properties": {"id": {}}}}}
]


def tokenise(text: str) -> list[int]:
    return list(text.encode())


def written(ids: list[int], labels: list[int]) -> str:
    return bytes(token for token, label in zip(ids, labels, strict=True) if label != MASKED).decode()


def conversation(turns: int = 1, route: str = "teacher") -> Trajectory:
    call = {"id": "c", "type": "function", "function": {"name": "track", "arguments": '{"id": "A1"}'}}
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You help."}]
    calls = []
    for turn in range(turns):
        messages.append({"role": "user", "content": f"where is A{turn}?"})
        messages.append({"role": "assistant", "content": "Looking.", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": "c", "content": '{"city": "Oslo"}'})
        messages.append({"role": "assistant", "content": f"In Oslo, {turn}."})
        for place in (len(messages) - 3, len(messages) - 1):
            calls.append(CallRef(f"c{place}", place, "p", route, "m", float(place)))
    return Trajectory("t", "s", "a", True, "rule", TOOLS, messages, tuple(calls))


def test_only_the_assistants_words_are_trained():
    row = rows_of([conversation()], SPEC, tokenise, 10_000).rows[0]
    block = '<tool_call>{"name":"track","arguments":{"id":"A1"}}</tool_call>'
    assert written(row.input_ids, row.labels) == f"Looking.\n{block}<|im_end|>In Oslo, 0.<|im_end|>"
    assert row.call_ids == ("c2", "c4")
    assert "You help" not in bytes(row.input_ids).decode()


def test_ids_are_those_of_the_whole_rendering():
    item = conversation(3)
    row = rows_of([item], SPEC, tokenise, 10_000).rows[0]
    assert row.input_ids == token_ids(segments(item.messages, item.tools, SPEC), tokenise)
    assert all(label in (MASKED, token) for token, label in zip(row.input_ids, row.labels, strict=True))


def test_every_answer_follows_the_prompt_that_is_served():
    item = conversation(2)
    row = rows_of([item], SPEC, tokenise, 10_000).rows[0]
    for call in item.calls:
        prompt = token_ids(prompt_segments(item.messages[: call.index], item.tools, SPEC), tokenise)
        assert row.input_ids[: len(prompt)] == prompt
        assert row.labels[len(prompt)] != MASKED


def test_what_a_student_said_is_context_only():
    assert rows_of([conversation(route="student")], SPEC, tokenise, 10_000).rows == []


def test_a_long_conversation_is_cut_between_turns_and_nothing_is_trained_twice():
    item = conversation(12)
    whole = rows_of([item], SPEC, tokenise, 10_000).rows[0]
    found = rows_of([item], SPEC, tokenise, 700)
    assert len(found.rows) > 2
    assert found.too_long == 0
    assert all(len(row.input_ids) <= 700 for row in found.rows)
    assert [call for row in found.rows for call in row.call_ids] == list(whole.call_ids)
    assert sum(row.trained for row in found.rows) == whole.trained
    assert all(bytes(row.input_ids).startswith(b"<|im_start|>user") for row in found.rows)
    overlaps = [row for row in found.rows[1:] if row.labels.index(next(x for x in row.labels if x != MASKED)) > 120]
    assert overlaps, "later parts repeat turns before their own as context"


def test_an_answer_that_fits_in_no_row_is_counted():
    found = rows_of([conversation(1)], SPEC, tokenise, 60)
    assert found.rows == []
    assert found.too_long == 2


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), min_size=1, max_size=40), st.integers(20, 100))
def test_cutting_covers_every_turn_once(turns: list[tuple[int, bool]], limit: int):
    lengths, cuttable = [n for n, _ in turns], [c for _, c in turns]
    windows, lost = cut(lengths, cuttable, limit)
    covered = sorted([span for _, *span in windows] + [list(span) for span in lost])
    assert [place for start, end in covered for place in range(start, end)] == list(range(len(turns)))
    for first, fresh, end in windows:
        assert first <= fresh < end
        assert sum(lengths[first:end]) <= limit
        assert fresh == 0 or cuttable[fresh]
