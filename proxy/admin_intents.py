"""The admin API's part for the intents of a pattern (docs/intents.md).

Finding them is no part of it: that takes a model, which the control plane never loads. The command does it with what
`openings` gives, and writes the file that `intents` shows.
"""

from collections.abc import Callable

from fastapi import FastAPI
from fastapi.responses import Response

from ..traffic.intents import described, openings_of, read_book
from ..traffic.layout import DataDir
from ..traffic.store import Store
from .admin_http import answer


def add_intents(app: FastAPI, store: Store, data: DataDir, one: Callable[[str], str]) -> None:
    """Add the routes under `/api/patterns/PATTERN`. `one`: id of the one pattern of an id or name."""

    @app.get("/api/patterns/{pattern}/openings")
    def openings(pattern: str) -> Response:
        wanted = one(pattern)
        return answer({"pattern_id": wanted, "openings": [item._asdict() for item in openings_of(store, wanted)]})

    @app.get("/api/patterns/{pattern}/intents")
    def intents(pattern: str) -> Response:
        wanted = one(pattern)
        book = read_book(data, wanted)
        if book is None:
            return answer([])
        return answer(described(book, {item.trajectory_id: item.text for item in openings_of(store, wanted)}))
