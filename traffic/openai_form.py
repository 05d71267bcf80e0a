"""What calls of other libraries have in common once they are said in OpenAI's form."""

from collections.abc import Mapping
from typing import Any

PARAMETERS = (
    *("temperature", "top_p", "max_tokens", "max_completion_tokens", "n", "seed", "stop", "user", "metadata"),
    *("frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "top_logprobs", "parallel_tool_calls"),
    *("response_format", "reasoning_effort", "modalities", "service_tier", "verbosity"),
)
"""Parameters of a chat completion beside its model, messages and tools. Whatever else a library keeps with a call
(keys, addresses, settings of its own) is no part of the call, and is left out."""


class Untranslatable(ValueError):
    """A call that has no equivalent in OpenAI's form."""


def parameters_of(known: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `PARAMETERS` that have a value."""
    return {name: known[name] for name in PARAMETERS if known.get(name) is not None}
