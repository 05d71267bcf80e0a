"""The form of LiteLLM's model names, and what a bridge needs before it starts."""

import pytest

from tutelage.plugins.litellm_options import BridgeModel, BridgeOptions, check, is_litellm_name
from tutelage.traffic.errors import BadInput

NAME = "anthropic/claude-sonnet-4-5"


@pytest.mark.parametrize(
    "name", [NAME, "bedrock/us.anthropic.claude-v1:0", "ollama_chat/llama3:8b", "openrouter/a/b", "text-completion-x/y"]
)
def test_names(name: str) -> None:
    assert is_litellm_name(name)


@pytest.mark.parametrize(
    "text",
    ["", "claude", "http://a.test/v1", "localhost:9000/v1", "api.openai.com/v1", "a/", "/b", "a/b c", "x/https://y"],
)
def test_what_is_no_name(text: str) -> None:
    assert not is_litellm_name(text)


@pytest.mark.parametrize(
    ("model", "environ", "words"),
    [
        (BridgeModel("claude"), {"K": "k"}, "provider/model"),
        (BridgeModel(NAME, key_env="MINE"), {"K": "k"}, "MINE"),
        (BridgeModel(NAME, key_env="MINE"), {"K": "k", "MINE": "  "}, "MINE"),
        (BridgeModel(NAME), {}, "environment variable K"),
    ],
)
def test_what_is_missing_is_named(model: BridgeModel, environ: dict[str, str], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        check(BridgeOptions((model,), key_env="K"), environ)


def test_what_is_complete_passes() -> None:
    check(BridgeOptions((BridgeModel(NAME, key_env="MINE"),), key_env="K"), {"K": "k", "MINE": "m"})
