"""A student on a scripted engine, and on a real one."""

import json
from pathlib import Path
from typing import Any

import pytest

from tutelage.serving.engine import ContextTooLong, Generation
from tutelage.serving.llama import LlamaEngine
from tutelage.serving.render import InvalidOutput
from tutelage.serving.schemas import Uncompilable
from tutelage.serving.student import Cancelled, Student
from tutelage.serving.validation import check_calls
from tutelage.traffic.students import PromptSpec

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "set_light",
            "parameters": {"type": "object", "properties": {"room": {"enum": ["hall"]}}, "required": ["room"]},
        },
    }
]
REQUEST: dict[str, Any] = {"messages": [{"role": "user", "content": "Light!"}], "tools": TOOLS}
CALL = '<tool_call>{"name":"set_light","arguments":{"room":"hall"}}</tool_call>'


class ScriptedEngine:
    """Says what it is told to, and notes what it was asked."""

    def __init__(self, text: str, finish: str = "stop", context: int = 200) -> None:
        self.text, self.finish, self.context = text, finish, context
        self.asked: dict[str, Any] = {}

    def tokenise(self, text: str) -> list[int]:
        return list(text.encode())

    def generate(
        self, prompt_ids: Any, adapter: str = "", grammar: str | None = None, *args: Any, **options: Any
    ) -> Generation:
        self.asked = {"prompt": bytes(prompt_ids).decode(), "adapter": adapter, "grammar": grammar, **options}
        return Generation(self.text, 7, len(prompt_ids), -0.25, -1.0, self.finish, cached_tokens=3)

    def set_adapters(self, adapters: Any) -> None:
        raise AssertionError("a student never changes the engine")

    def close(self) -> None:
        raise AssertionError("a student never closes the engine")


def student(engine: ScriptedEngine) -> Student:
    return Student(PromptSpec(mode="internalised"), engine, "s@1", max_tokens=64)


def test_a_call_is_answered_in_openais_form() -> None:
    engine = ScriptedEngine(CALL)
    answer = student(engine).answer(REQUEST)
    assert answer.finish == "tool_calls"
    assert json.loads(answer.message["tool_calls"][0]["function"]["arguments"]) == {"room": "hall"}
    assert answer.usage["prompt_tokens"] == len(engine.asked["prompt"])
    assert answer.usage["total_tokens"] == answer.usage["prompt_tokens"] + 7
    assert (answer.mean_logprob, answer.min_logprob) == (-0.25, -1.0)
    assert engine.asked["adapter"] == "s@1"
    assert engine.asked["prompt"] == "<|im_start|>user\nLight!<|im_end|>\n<|im_start|>assistant\n"
    assert '"\\"hall\\""' in engine.asked["grammar"]


def test_text_is_answered_without_tools_and_grammar() -> None:
    engine = ScriptedEngine("Hello.")
    answer = student(engine).answer({"messages": REQUEST["messages"]})
    assert (answer.message, answer.finish) == ({"role": "assistant", "content": "Hello."}, "stop")
    assert engine.asked["grammar"] is None


def test_limits_of_the_request_are_kept() -> None:
    engine = ScriptedEngine(CALL)
    student(engine).answer({**REQUEST, "max_completion_tokens": 5, "stop": "\n"})
    assert (engine.asked["max_tokens"], engine.asked["stop"]) == (5, ["\n"])
    student(engine).answer({**REQUEST, "max_tokens": 500})
    assert engine.asked["max_tokens"] == 64


WANTED = {"type": "json_schema", "json_schema": {"schema": {"properties": {"n": {"multipleOf": 2}}}}}


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({"tool_choice": "required"}, "I would rather not.", "no_call"),
        ({"tool_choice": "none"}, CALL, "tool_not_allowed"),
        ({"parallel_tool_calls": False}, f"{CALL}\n{CALL}", "too_many_calls"),
        ({"response_format": WANTED}, '{"n":3}', "schema:$.n"),
        ({"response_format": WANTED}, "n is 3", "bad_json"),
    ],
)
def test_what_a_request_rules_out_is_never_answered(fields: Any, text: str, reason: str) -> None:
    with pytest.raises(InvalidOutput) as error:
        student(ScriptedEngine(text)).answer({**REQUEST, **fields})
    assert (error.value.reason, error.value.text) == (reason, text)


def test_json_is_answered_as_text_or_not_at_all() -> None:
    made = student(ScriptedEngine('{"n":4}'))
    assert made.answer({**REQUEST, "response_format": WANTED}).message["content"] == '{"n":4}'
    assert made.answer({"messages": REQUEST["messages"], "response_format": WANTED}).finish == "stop"
    calls = student(ScriptedEngine(CALL)).answer({**REQUEST, "response_format": WANTED})
    assert calls.finish == "tool_calls"


def test_a_schema_without_a_grammar_is_refused_before_anything_is_written() -> None:
    endless = {"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]}
    tool = {"type": "function", "function": {"name": "dig", "parameters": endless}}
    engine = ScriptedEngine(CALL)
    with pytest.raises(Uncompilable, match=r"dig.*refers to itself"):
        student(engine).answer({**REQUEST, "tools": [tool]})
    assert not engine.asked


def test_reading_and_writing_are_timed_apart() -> None:
    answer = student(ScriptedEngine(CALL)).answer(REQUEST)
    assert answer.prefill_s >= 0
    assert answer.decode_s >= 0


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [(CALL, "length", "length"), ("", "stop", "empty"), (CALL.replace("hall", "sea"), "stop", "schema:$.room")],
)
def test_invalid_output_is_never_answered(text: str, finish: str, reason: str) -> None:
    with pytest.raises(InvalidOutput) as error:
        student(ScriptedEngine(text, finish)).answer(REQUEST)
    assert (error.value.reason, error.value.text) == (reason, text)


def test_cancelled_and_too_long() -> None:
    with pytest.raises(Cancelled):
        student(ScriptedEngine("x", "cancelled")).answer(REQUEST)
    with pytest.raises(ContextTooLong, match="context 60"):
        student(ScriptedEngine(CALL, context=60)).answer(REQUEST)


def test_a_real_engine_writes_valid_calls_whatever_it_knows(tiny_gguf: Path) -> None:
    """A random model thinks as long as it may before it calls; and what it says in a string has an end."""
    engine = LlamaEngine(tiny_gguf, slots=1, threads=1, context=1024)
    names = {
        "type": "object",
        "properties": {
            "room": {"type": "string", "pattern": "^[a-z]{1,8}$"},
            "level": {"type": "integer", "minimum": -3, "maximum": 12},
            "at": {"type": "string", "format": "time"},
        },
        "required": ["room", "level", "at"],
    }
    tool = {"type": "function", "function": {"name": "set_light", "parameters": names}}
    request = {**REQUEST, "tools": [tool], "tool_choice": "required", "parallel_tool_calls": False}
    answer = Student(PromptSpec(mode="internalised"), engine, max_tokens=600).answer(request)
    assert [call["function"]["name"] for call in answer.message["tool_calls"]] == ["set_light"]
    check_calls(answer.message["tool_calls"], [tool])
    assert answer.prefill_s > 0
    assert answer.decode_s > 0
    engine.close()
