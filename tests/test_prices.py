"""The table of prices, and the script that makes it."""

import importlib.util
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tutelage.proxy.ledger import price_of
from tutelage.proxy.options import Price
from tutelage.traffic.prices import ModelPrice, known_price, price_table, undated

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "name",
    ["gpt-4o", "gpt-4o-2024-08-06", "openai/gpt-4o", "openai/gpt-4o-2024-08-06", "azure/gpt-4o"],
)
def test_a_model_is_found_by_the_names_that_answers_use(name: str) -> None:
    assert known_price(name) == ModelPrice(2.5, 10.0)


def test_each_rule_finds_its_names() -> None:
    assert known_price("claude-sonnet-4-5") == known_price("anthropic/claude-sonnet-4-5-20250929") is not None
    assert known_price("gemini-2.5-pro") == known_price("gemini/gemini-2.5-pro") is not None


@pytest.mark.parametrize("name", ["", "/", "gpt", "gpt-4o-mine", "mine/gpt-4o", "openai/", "openai", "llama-3"])
def test_what_is_not_in_the_table_is_unknown(name: str) -> None:
    assert known_price(name) is None


def test_the_table_says_where_it_is_from_and_holds_no_free_model() -> None:
    table = price_table()
    assert table.source.startswith("https://github.com/BerriAI/litellm")
    assert len(table.date) == 10
    assert all(price.input > 0 < price.output for prices in table.models.values() for price in prices.values())
    assert (ROOT / "traffic" / "model_prices.json").stat().st_size < 150_000


def test_the_settings_beat_the_table() -> None:
    own = {"gpt-4o": Price(9.0, 9.0)}
    assert price_of("gpt-4o-2024-08-06", own) == Price(9.0, 9.0)
    assert price_of("gpt-4o-2024-08-06", {}) == Price(2.5, 10.0)
    assert price_of("teacher-1-big", own) is None


def test_dates_at_the_end() -> None:
    assert [undated(name) for name in ("m-2026-01-31", "m-20260131", "m@20260131", "m-2026", "m")] == [
        "m",
        "m",
        "m",
        "m-2026",
        "m",
    ]


def test_the_script_keeps_chat_models_with_a_price() -> None:
    spec = importlib.util.spec_from_file_location("make_prices", ROOT / "docs" / "make_prices.py")
    assert spec
    assert spec.loader
    script: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def row(mode: str, provider: str, prompt: float, completion: float | None) -> dict[str, Any]:
        costs = {"input_cost_per_token": prompt, "output_cost_per_token": completion}
        return {"mode": mode, "litellm_provider": provider, **costs}

    table = {
        "big": row("chat", "openai", 1e-6, 2e-6),
        "big-2026-01-31": row("chat", "openai", 1e-6, 2e-6),
        "big-2025-01-31": row("chat", "openai", 3e-6, 4e-6),
        "xai/fast": row("responses", "xai", 0.2e-6, 0.5e-6),
        "free": row("chat", "openai", 0, 0),
        "half": row("chat", "openai", 1e-6, None),
        "ear": row("audio_transcription", "openai", 1e-6, 1e-6),
    }
    assert script.reduced(table) == {
        "openai": {"big": [1.0, 2.0], "big-2025-01-31": [3.0, 4.0]},
        "xai": {"fast": [0.2, 0.5]},
    }
    assert msgspec.convert(script.reduced(table)["xai"]["fast"], ModelPrice) == ModelPrice(0.2, 0.5)
