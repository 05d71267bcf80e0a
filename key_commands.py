"""`tutelage keys …`: the proxy's own keys. Like every listing, each command asks the admin API (docs/keys.md)."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console

from . import config
from .listings import DataOption, JsonOption, show
from .proxy.admin_client import AdminClient
from .traffic.errors import BadInput

keys = typer.Typer(no_args_is_help=True, help="Keys of this proxy: who may use it, how often and for how much.")
err = Console(stderr=True)

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_COLUMNS = ("key_id", "name", "state", "rate", "budget", "spent", "expires", "models")

KeyArgument = Annotated[str, typer.Argument(help="Id or name of the key.")]
RateOption = Annotated[float | None, typer.Option("--rate", min=0, help="Calls per minute; 0: no limit.")]
BurstOption = Annotated[int | None, typer.Option("--burst", min=0, help="Calls at once; 0: ten seconds' worth.")]
DollarsOption = Annotated[float | None, typer.Option("--budget-usd", min=0, help="US dollars a period; 0: no limit.")]
TokensOption = Annotated[int | None, typer.Option("--budget-tokens", min=0, help="Tokens a period; 0: no limit.")]
PeriodOption = Annotated[str | None, typer.Option("--period", help="day or month (UTC). Default: month.")]
ExpiresOption = Annotated[str | None, typer.Option("--expires", help="In 30d, 12h, …; a date (UTC); or never.")]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option("--models", help="Model, or pattern such as 'gpt-*'; may be repeated. '*': all."),
]


def expiry(text: str, now: float) -> float:
    """Unix seconds of `30d`, `12h`, `2w`, `2027-01-31` (where that day begins, UTC) or `never` (0). Raises BadInput."""
    if text.strip().lower() == "never":
        return 0.0
    if found := _SPAN.fullmatch(text.strip().lower()):
        return now + float(found[1]) * _UNITS[found[2]]
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise BadInput(f"--expires takes a span (30d, 12h, 2w), a date (2027-01-31) or never, not {text!r}.") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


@keys.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    rate: RateOption = None,
    burst: BurstOption = None,
    budget_usd: DollarsOption = None,
    budget_tokens: TokensOption = None,
    period: PeriodOption = None,
    expires: ExpiresOption = None,
    models: ModelsOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and print it. It is kept as a hash only and cannot be shown again."""
    limits = _limits(rate, burst, budget_usd, budget_tokens, period, expires, models)
    made = _post(data, "/api/keys", {"name": name, **limits})
    if as_json:
        show(made, as_json)
        return
    print(made["key"])
    err.print(f"Key {made['key_id']} for {name}. Keep it now: only its hash is stored.", highlight=False, markup=False)


@keys.command("list")
def list_keys(data: DataOption = None, as_json: JsonOption = False) -> None:
    """All keys, without their text."""
    with _client(data) as client:
        rows = client.get("/api/keys")
    show(rows if as_json else [_readable(row) for row in rows], as_json, _COLUMNS)


@keys.command("update")
def update(
    key: KeyArgument,
    name: Annotated[str | None, typer.Option("--name", help="Whose key it is.")] = None,
    rate: RateOption = None,
    burst: BurstOption = None,
    budget_usd: DollarsOption = None,
    budget_tokens: TokensOption = None,
    period: PeriodOption = None,
    expires: ExpiresOption = None,
    models: ModelsOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change what a key may do. What is not named stays; workers know within 0.2 s."""
    changes = _limits(rate, burst, budget_usd, budget_tokens, period, expires, models)
    if name is not None:
        changes["name"] = name
    if not changes:
        raise BadInput("Nothing to change was named. Give at least one of the options that `--help` lists.")
    _show_one(_post(data, f"/api/keys/{quote(key, safe='')}/update", changes), as_json)


@keys.command("revoke")
def revoke(key: KeyArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """End a key, for good."""
    _show_one(_post(data, f"/api/keys/{quote(key, safe='')}/revoke", {}), as_json)


def _limits(
    rate: float | None,
    burst: int | None,
    budget_usd: float | None,
    budget_tokens: int | None,
    period: str | None,
    expires: str | None,
    models: list[str] | None,
) -> dict[str, Any]:
    """The limits that were given, as the admin API takes them."""
    if period not in (None, "day", "month"):
        raise BadInput(f"--period is day or month, not {period!r}.")
    given: dict[str, Any] = {
        "rate": rate,
        "burst": burst,
        "budget_usd": budget_usd,
        "budget_tokens": budget_tokens,
        "period": period,
        "expires_at": None if expires is None else expiry(expires, time.time()),
        # All models is the same as no list of them.
        "models": None if not models else [] if "*" in models else models,
    }
    return {field: value for field, value in given.items() if value is not None}


def _client(data: Path | None) -> AdminClient:
    """With the options of `serve`, for without a control plane the prices in them are needed here."""
    chosen = config.load(data=data)
    return AdminClient.open(chosen.data, chosen.control())


def _post(data: Path | None, path: str, body: dict[str, Any]) -> Any:
    with _client(data) as client:
        return client.post(path, body)


def _show_one(row: dict[str, Any], as_json: bool) -> None:
    show(row if as_json else [_readable(row)], as_json, _COLUMNS)


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the API in the words of the table."""
    usd, tokens = row["budget_usd"], row["budget_tokens"]
    budget = [f"${usd:g}"] * bool(usd) + [f"{tokens} tokens"] * bool(tokens)
    spent = [f"${row['spent_usd']:.2f}"] * bool(usd) + [f"{row['spent_tokens']} tokens"] * bool(tokens)
    spent += [f"{row['uncounted']} calls uncounted"] * bool(row["uncounted"])
    expires = datetime.fromtimestamp(row["expires_at"], UTC).strftime("%Y-%m-%d %H:%M") if row["expires_at"] else None
    return {
        **row,
        "rate": f"{row['rate']:g}/min, {row['burst']} at once" if row["rate"] else None,
        "budget": f"{' and '.join(budget)} a {row['period']}" if budget else None,
        "spent": ", ".join(spent) or None,
        "expires": expires,
        "models": ", ".join(row["models"]) or None,
    }
