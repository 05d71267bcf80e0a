"""Settings of the teacher bridge: models that are reached through LiteLLM, and where their keys are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..traffic.errors import BadInput

BRIDGE_KEY_ENV = "TUTELAGE_BRIDGE_KEY"
"""Environment variable with the key that the bridge asks for; `serve` makes a new one each time."""
_NAME = re.compile(r"[A-Za-z0-9_-]+/\S+")


@dataclass(frozen=True)
class BridgeModel:
    """One model that is reached through LiteLLM."""

    name: str
    """LiteLLM's name for it: `provider/model`."""
    url: str = ""
    """Address of the provider's API, where it is not the usual one."""
    key_env: str = ""
    """Environment variable with the key; empty: LiteLLM looks where it always does (ANTHROPIC_API_KEY and the like)."""


@dataclass(frozen=True)
class BridgeOptions:
    """The teacher bridge."""

    models: tuple[BridgeModel, ...]
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8403
    """Port to listen on."""
    key_env: str = BRIDGE_KEY_ENV
    """Environment variable with the key that callers must show; empty: none is asked for."""
    timeout_s: float = 600.0
    """Longest wait for a provider, in seconds."""


def is_litellm_name(text: str) -> bool:
    """Whether `text` has the form of LiteLLM's model names, `provider/model`; a URL or a host with a path has not."""
    return _NAME.fullmatch(text) is not None and "://" not in text


def check(options: BridgeOptions, environ: Mapping[str, str]) -> None:
    """Raises BadInput for what would keep the bridge from working: a name of another form, a key that is not set."""
    for model in options.models:
        if not is_litellm_name(model.name):
            raise BadInput(
                f"{model.name!r} is no LiteLLM model name: expected provider/model, like anthropic/claude-sonnet-4-5."
            )
        if model.key_env and not environ.get(model.key_env, "").strip():
            raise BadInput(
                f"The key for {model.name} is to come from the environment variable {model.key_env}, which is not set."
            )
    if options.key_env and not environ.get(options.key_env):
        raise BadInput(f"Set the environment variable {options.key_env} to the key that callers of the bridge show.")
