"""`tutelage savings`: what students have brought after everything they cost, asked of the admin API."""

import json
from typing import Annotated, Any

import typer

from .listings import DataOption, JsonOption, ask, show

_COLUMNS = ("pattern", "calls", "tokens_avoided", "avoided", "serving", "shadow", "audit", "judge", "training", "net")


def savings(
    data: DataOption = None,
    as_json: JsonOption = False,
    pattern: Annotated[str | None, typer.Option(help="Id or name; only this pattern, day by day.")] = None,
    days: Annotated[float, typer.Option(min=0, help="Only the last so many days; 0: all.")] = 0,
) -> None:
    """Dollars by pattern: avoided, spent, net, and when it has paid off. `–` is unknown: a price is missing."""
    found = ask(data, "/api/savings", pattern=pattern, days=days)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    lines = found["days"] if pattern else found["patterns"]
    first, last = ("day",) if pattern else (), () if pattern else ("even_on",)
    show([_row(line) for line in lines], False, (*first, *_COLUMNS, *last))
    print(f"net: {'unknown' if found['net'] is None else format(found['net'], '.4g')}")
    if found["unpriced"]:
        print(f"without a price: {', '.join(found['unpriced'])} (see [prices] and training_usd_hour)")


def _row(line: dict[str, Any]) -> dict[str, Any]:
    even = line.get("even_on")
    row = {**line, **line["amounts"], "pattern": line["name"]}
    return row | {"even_on": f"{even} (projected)" if even and line.get("projected") else even}
