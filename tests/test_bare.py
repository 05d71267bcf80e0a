"""An untrained base that serves itself: told how to call, held to it by the grammar."""

from pathlib import Path
from typing import Any

import pytest

from tutelage.serving.bare import HOW_TO_CALL, BareBase, model_name
from tutelage.serving.llama import LlamaEngine

TOOL = {
    "type": "function",
    "function": {
        "name": "set_light",
        "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]},
    },
}
REQUEST: dict[str, Any] = {
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Light!"}],
    "tools": [TOOL],
}


class Reader:
    """An engine that is asked for tokens only."""

    context = 4096

    def tokenise(self, text: str) -> list[int]:
        return list(text.encode())


def prompt(**fields: Any) -> str:
    base: Any = BareBase(Reader())  # type: ignore[arg-type]
    return bytes(base.prompt_ids({**REQUEST, **fields})).decode()


def test_it_is_told_how_to_call() -> None:
    text = prompt()
    assert text.index(HOW_TO_CALL[:40]) < text.index("Be brief.") < text.index("\n<tools>") < text.index("Light!")


@pytest.mark.parametrize("fields", [{"tools": []}, {"tool_choice": "none"}])
def test_without_tools_to_call_it_is_told_nothing(fields: dict[str, Any]) -> None:
    assert HOW_TO_CALL[:40] not in prompt(**fields)


@pytest.mark.parametrize(("base", "name"), [("smollm2-135m", "smollm2-135m"), ("/x/y.gguf", "y"), ("own/r", "own/r")])
def test_its_name(base: str, name: str) -> None:
    assert model_name(base) == name


def test_a_random_model_without_a_template_calls_as_it_should(tiny_gguf: Path) -> None:
    engine = LlamaEngine(tiny_gguf, slots=1, threads=1, context=1024)
    answer = BareBase(engine, 400).answer({**REQUEST, "tool_choice": "required", "parallel_tool_calls": False})
    assert answer.message["tool_calls"][0]["function"]["arguments"] in ('{"on":true}', '{"on":false}')
    engine.close()
