"""Each of the six silent failures of agent fine-tuning is planted in rows that were sound, and must be refused."""

from dataclasses import replace
from typing import Any

import pytest
from byte_tokens import decode, tokenise

from tutelage.distill.audit import Auditor, AuditRefused, RoleCount, lost_words, shown, table_of
from tutelage.distill.curate import CallRef, Trajectory
from tutelage.distill.rows import MASKED, Row, rows_of
from tutelage.traffic.students import PromptSpec

SPEC = PromptSpec(skeleton=["You help."])
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {"name": "track", "parameters": {"type": "object", "properties": {"id": {"type": "string"}}}},
    }
]
CALL = {"id": "c", "type": "function", "function": {"name": "track", "arguments": '{"id": "A-1"}'}}


def conversation(**fields: Any) -> Trajectory:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": "where is A-1?"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": '{"city": "Oslo"}'},
        {"role": "assistant", "content": "It is in Oslo."},
    ]
    calls = (CallRef("c2", 2, "p", "teacher", "m", 1.0), CallRef("c4", 4, "p", "teacher", "m", 2.0))
    values: dict[str, Any] = {"tools": TOOLS, "messages": messages, "calls": calls} | fields
    return Trajectory("t", "s", "a", True, "rule", **values)


def sound_row() -> Row:
    return rows_of([conversation()], SPEC, tokenise, 10_000).rows[0]


def refused(row: Row, item: Trajectory | None = None, spec: PromptSpec = SPEC) -> str:
    with pytest.raises(AuditRefused) as caught:
        Auditor(spec, tokenise, decode).audit([row], [item or conversation()])
    return caught.value.reason


def test_sound_rows_pass_with_a_table():
    table = Auditor(SPEC, tokenise, decode).audit([sound_row()], [conversation()])
    by_role = {count.role: (count.trained, count.masked) for count in table}
    assert set(by_role) == {"user", "assistant", "tool"}
    assert by_role["user"][0] == by_role["tool"][0] == 0
    assert by_role["assistant"][0] == sound_row().trained
    assert sum(map(sum, by_role.values())) == len(sound_row().input_ids)


def test_all_labels_masked():
    row = sound_row()
    assert refused(replace(row, labels=[MASKED] * len(row.labels))) == "nothing_trained"


def test_a_tool_result_is_trained():
    row = sound_row()
    assert refused(replace(row, labels=list(row.input_ids))) == "input_trained"
    labels, start = list(row.labels), decode(row.input_ids).index("Oslo") - 40
    labels[start : start + 3] = row.input_ids[start : start + 3]
    assert refused(replace(row, labels=labels)) == "input_trained"


def test_a_result_inside_one_response_string():
    messages = conversation().messages
    said = {"role": "assistant", "content": 'Look: <tool_response>{"city": "Oslo"}</tool_response> so Oslo.'}
    item = conversation(messages=[*messages[:4], said])
    assert refused(rows_of([item], SPEC, tokenise, 10_000).rows[0], item) == "input_trained"


def test_last_turns_truncated():
    row = sound_row()
    assert refused(replace(row, input_ids=row.input_ids[:-20], labels=row.labels[:-20])) == "turn_cut"


def test_a_missing_last_turn():
    row, item = sound_row(), conversation()
    short = replace(item, messages=item.messages[:3], calls=item.calls[:1])
    cut = rows_of([short], SPEC, tokenise, 10_000).rows[0]
    assert len(cut.input_ids) < len(row.input_ids)
    assert refused(cut, item) == "turn_cut"


def test_a_null_planted_in_a_schema():
    parameters = {"type": "object", "properties": {"id": {"type": "string", "enum": None, "items": None}}}
    tools = [{"type": "function", "function": {"name": "track", "parameters": parameters}}]
    assert refused(sound_row(), conversation(tools=tools)) == "null_in_schema"


def test_nulls_that_mean_something_pass():
    parameters = {"type": "object", "properties": {"id": {"enum": ["A-1", None], "default": None}}}
    item = conversation(tools=[{"type": "function", "function": {"name": "track", "parameters": parameters}}])
    assert Auditor(SPEC, tokenise, decode).audit(rows_of([item], SPEC, tokenise, 10_000).rows, [item])


def test_content_lost_beside_tool_calls():
    item = conversation()
    silent = [*item.messages[:2], {**item.messages[2], "content": None}, *item.messages[3:]]
    row = rows_of([conversation(messages=silent)], SPEC, tokenise, 10_000).rows[0]
    assert refused(row, item) == "answer_lost"


def test_a_tool_call_lost_beside_content():
    item = conversation()
    silent = [*item.messages[:2], {"role": "assistant", "content": "Let me see."}, *item.messages[3:]]
    row = rows_of([conversation(messages=silent)], SPEC, tokenise, 10_000).rows[0]
    assert refused(row, item) == "answer_lost"


def test_another_template_in_serving():
    assert refused(sound_row(), spec=PromptSpec(mode="full", skeleton=["You help."])) == "other_template"


def test_a_part_of_a_long_conversation_is_the_end_of_the_served_prompt():
    item = conversation()
    messages = [item.messages[0], *item.messages[1:] * 6]
    calls = tuple(
        CallRef(f"c{place}", place, "p", "teacher", "m", float(place))
        for place, message in enumerate(messages)
        if message["role"] == "assistant"
    )
    long = conversation(messages=messages, calls=calls)
    found = rows_of([long], SPEC, tokenise, 500)
    assert len(found.rows) > 1
    assert Auditor(SPEC, tokenise, decode).audit(found.rows, [long])


def test_lost_words():
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert lost_words(message, '{"name":"track","arguments":{"id":"A-1"}}') == ""
    assert lost_words(message, '{"name":"track","arguments":{"id":"A-2"}}') == "A-1"


def test_the_table_for_people():
    said = table_of([RoleCount("assistant", 1_500, 500), RoleCount("user", 0, 6_000)]).splitlines()
    assert [line.split() for line in said] == [
        ["role", "tokens", "trained", "masked", "share"],
        ["assistant", "2,000", "1,500", "500", "75.0%"],
        ["user", "6,000", "0", "6,000", "0.0%"],
        ["all", "8,000", "1,500", "6,500", "18.8%"],
    ]
    assert len({len(line) for line in said}) == 1
    assert "-" in table_of([])


def test_a_row_shows_what_is_trained_in_it():
    text = shown(sound_row(), decode)
    assert "⟦It is in Oslo.<|im_end|>⟧" in text
    assert text.count("⟦") == text.count("⟧") == 2
    assert text.replace("⟦", "").replace("⟧", "") == decode(sound_row().input_ids)


def test_arguments_that_are_an_object_already_are_words_too():
    call = {"function": {"name": "track", "arguments": {"id": "A-1"}}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    assert lost_words(message, '{"name":"track","arguments":{"id":"A-1"}}') == ""
    assert lost_words(message, '{"name":"track","arguments":{}}') == "id"
