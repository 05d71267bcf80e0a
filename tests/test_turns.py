"""Assistant turns put together from pieces."""

from tutelage.traffic.turns import Turn, content_of


def test_an_empty_turn_is_nothing() -> None:
    turn = Turn()
    assert not turn
    assert turn.message() == {"role": "assistant", "content": None}


def test_text_calls_and_reasoning_find_their_places() -> None:
    turn = Turn()
    turn.add_reasoning({"type": "thinking", "thinking": "hm"})
    turn.add_part({"type": "text", "text": "So."})
    turn.add_call("f", "c1", '{"a": 1}')
    turn.add_reasoning({"type": "redacted_thinking", "data": "x"})
    turn.add_call("g", "c2", {"b": [1, "é"]})
    turn.add_custom_call("shell", "c3", "ls")
    assert turn.message() == {
        "role": "assistant",
        "content": "So.",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
            {"id": "c2", "type": "function", "function": {"name": "g", "arguments": '{"b":[1,"é"]}'}},
            {"id": "c3", "type": "custom", "custom": {"name": "shell", "input": "ls"}},
        ],
        "reasoning_details": [
            {"type": "thinking", "thinking": "hm", "index": 0},
            {"type": "redacted_thinking", "data": "x", "index": 3},
        ],
    }


def test_members_are_set_and_lists_grow() -> None:
    turn = Turn()
    turn.set("annotations", [1])
    turn.set("annotations", [2])
    turn.set("refusal", "no")
    assert turn.message() == {"role": "assistant", "content": None, "annotations": [1, 2], "refusal": "no"}


def test_one_plain_text_is_itself_and_anything_else_a_list() -> None:
    text = {"type": "text", "text": "a", "citations": None}
    assert content_of([text]) == "a"
    for parts in ([], [text, text], [{"type": "text", "text": 7}], [{"type": "text", "text": "a", "more": 1}], ["a"]):
        assert content_of(parts) == parts
