"""What models cost where nobody has said so: a table that comes with the package.

`model_prices.json` is a reduced copy of LiteLLM's public table with the day it was taken (docs/make_prices.py makes
it): the price of the first tier, without discounts for cached or batched tokens. The settings `[prices]` beat it.

A model is looked up as its answers name it. In this order:

    1. `NAME` as a name that LiteLLM knows without a provider: `gpt-4o`, `claude-sonnet-4-5`
    2. `PROVIDER/NAME`, the name being one of that provider's: `openai/gpt-4o`, `groq/…`
    3. both again without a date at the end: `-2024-08-06`, `-20250929`, `@20250929`

Invariant: nothing else is tried. The same open model costs differently everywhere, and a self-hosted one may have any
name; so what is not found is unknown, never zero and never a relative's price.
"""

import re
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

import msgspec

_DATE = re.compile(r"[-@]\d{4}-?\d{2}-?\d{2}$")
_BARE = ("openai", "anthropic", "deepseek", "vertex_ai-language-models", "mistral", "xai", "cohere_chat", "moonshot")
"""Providers whose answers name a model without them; the first that has it is taken."""


class ModelPrice(NamedTuple):
    """US dollars per million tokens."""

    input: float
    output: float


class PriceTable(msgspec.Struct, frozen=True, kw_only=True):
    """The table as it was shipped."""

    source: str
    version: str
    """Of LiteLLM."""
    date: str
    """Day on which it was taken, `2026-01-31`."""
    unit: str
    licence: str
    models: dict[str, dict[str, ModelPrice]]
    """By provider and model."""


@lru_cache(maxsize=1)
def price_table() -> PriceTable:
    """The table that comes with the package; read once."""
    content = resources.files(__package__ or "").joinpath("model_prices.json").read_bytes()
    return msgspec.json.decode(content, type=PriceTable)


def known_price(model: str) -> ModelPrice | None:
    """The price of a model as its answers name it; None when it is unknown."""
    return _exact(model) or (_exact(short) if (short := undated(model)) != model else None)


def undated(model: str) -> str:
    """The name without a date at its end."""
    return _DATE.sub("", model)


def _exact(model: str) -> ModelPrice | None:
    models = price_table().models
    for provider in _BARE:
        if price := models.get(provider, {}).get(model):
            return price
    provider, _, name = model.partition("/")
    return models.get(provider, {}).get(name)
