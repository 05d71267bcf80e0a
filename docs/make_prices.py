"""Makes traffic/model_prices.json from LiteLLM's public price table.

python docs/make_prices.py TABLE --version 1.106.2 --date 2026-11-21

TABLE is `model_prices_and_context_window.json` of https://github.com/BerriAI/litellm (also part of its package, as
`litellm/model_prices_and_context_window_backup.json`). Kept are chat models with a price for both directions, in
dollars per million tokens, under their provider. Left out are entries that cost nothing (free trials, subscriptions and
local models: their price is unknown rather than zero), and dated names that cost what the name without date does.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from tutelage.traffic.prices import undated

TARGET = Path(__file__).parent.parent / "traffic" / "model_prices.json"
SOURCE = "https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json"
MODES = ("chat", "responses")

Prices = dict[str, list[float]]


def reduced(table: dict[str, Any]) -> dict[str, Prices]:
    """Prices by provider and model."""
    kept: dict[str, Prices] = {}
    for name, entry in table.items():
        price = [round(float(entry.get(f"{side}_cost_per_token") or 0) * 1e6, 4) for side in ("input", "output")]
        if entry.get("mode") in MODES and all(amount > 0 for amount in price):
            provider = str(entry.get("litellm_provider"))
            kept.setdefault(provider, {})[name.removeprefix(f"{provider}/")] = price
    return {provider: _without_dates(prices) for provider, prices in sorted(kept.items())}


def _without_dates(prices: Prices) -> Prices:
    kept = {}
    for name, price in sorted(prices.items()):
        if undated(name) == name or prices.get(undated(name)) != price:
            kept[name] = price
    return kept


def main() -> None:
    """Read the table, write the reduced one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="LiteLLM's table")
    parser.add_argument("--version", required=True, help="version of LiteLLM that it comes from")
    parser.add_argument("--date", required=True, help="day on which it was taken, 2026-01-31")
    chosen = parser.parse_args()
    models = reduced(json.loads(chosen.table.read_text(encoding="utf-8")))
    head = {
        "source": SOURCE,
        "version": chosen.version,
        "date": chosen.date,
        "unit": "US dollars per million tokens: [prompt, completion]",
        "licence": "MIT, Copyright (c) 2023 Berri AI",
    }
    parts = [f" {json.dumps(name)}: {json.dumps(prices, separators=(',', ':'))}" for name, prices in models.items()]
    text = json.dumps(head, indent=1)[:-2] + ',\n "models": {\n' + ",\n".join(parts) + "\n }\n}\n"
    TARGET.write_text(text, encoding="utf-8")
    print(f"{sum(map(len, models.values()))} models of {len(models)} providers, {len(text)} bytes")


if __name__ == "__main__":
    main()
