"""The admin API's part for what students have brought: `GET /api/savings` (docs/admin-api.md)."""

from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.responses import Response

from ..traffic.errors import BadInput
from ..traffic.layout import DataDir
from ..traffic.rollup import DAY_S
from ..traffic.students import StudentRegister
from .admin_http import answer
from .overview import Overview
from .savings import balance


def add_savings(
    app: FastAPI, overview: Overview, data: DataDir, clock: Callable[[], float], one: Callable[[str], str]
) -> None:
    """Add the route. `one` gives the one pattern of an id or a name, or raises."""

    @app.get("/api/savings")
    def savings(pattern: str = "", days: float = 0.0) -> Response:
        if not 0 <= days <= 36_500:
            raise BadInput(f"Parameter 'days' must lie between 0 (all) and 36500, not be {days:g}.")
        options = overview.options
        found = balance(
            overview.store,
            options.prices,
            StudentRegister(data).list(),
            options.training_usd_hour,
            clock() - days * DAY_S if days else 0.0,
        )
        names = {entry.pattern_id: entry.name for entry in overview.keeper.registry.entries()}
        return answer(_shown(msgspec.to_builtins(found), names, one(pattern) if pattern else ""))


def _shown(found: dict[str, Any], names: dict[str, str], pattern: str) -> dict[str, Any]:
    for part in ("patterns", "days"):
        lines = [line for line in found[part] if pattern in ("", line["pattern_id"])]
        found[part] = [{**line, "name": names.get(line["pattern_id"], line["pattern_id"])} for line in lines]
    if pattern:
        found["net"] = found["patterns"][0]["net"] if found["patterns"] else 0.0
    return found
