"""The scrub preview as a page."""

import json
import time
from typing import Any

import pytest
from dashboard_site import site_of
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.memo import Memo
from tutelage.proxy.scrub_preview import ScrubPage, pieces_of, run_preview, scrub_page
from tutelage.traffic.errors import TutelageError


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=4), max_size=4))
def test_the_pieces_are_the_text(text: str, stand_ins: list[str]) -> None:
    pieces = pieces_of(text, stand_ins)
    assert "".join(piece.text for piece in pieces) == text
    assert all(piece.text in stand_ins for piece in pieces if piece.stand_in)


def shown(world: Any, scrub: Any) -> ScrubPage:
    world.play(40)
    site = site_of(world)
    object.__setattr__(site, "memo", Memo())
    run = site.store.value("SELECT trajectory_id FROM trajectories LIMIT 1")
    assert scrub_page(site, run, scrub).waiting
    until = time.monotonic() + 20
    while (page := scrub_page(site, run, scrub)).waiting:
        assert time.monotonic() < until
        time.sleep(0.01)
    return page


def test_the_run_and_its_agent_are_given_and_the_stand_ins_marked(control_world: Any) -> None:
    asked: list[dict[str, Any]] = []

    def scrub(request: bytes) -> bytes:
        asked.append(json.loads(request))
        messages = [{"role": "user", "content": "Parcel of eve@stand.in has left."}]
        counts = {"EMAIL_ADDRESS": 1}
        answer = {"messages": messages, "counts": counts, "stand_ins": ["eve@stand.in"], "knows_names": False}
        return json.dumps(answer).encode()

    page = shown(control_world, scrub)
    assert [(piece.text, piece.stand_in) for piece in page.messages[0].pieces] == [
        ("Parcel of ", False),
        ("eve@stand.in", True),
        (" has left.", False),
    ]
    assert page.summary == "1 values exchanged: 1 × email address"
    assert "lists and rules alone" in page.names_note
    assert len(asked) == 1
    assert [tool["function"]["name"] for tool in asked[0]["tools"]] == ["set_status"]
    assert len(asked[0]["system_texts"]) > 2


def test_why_it_cannot_be_shown(control_world: Any) -> None:
    def scrub(request: bytes) -> bytes:
        raise TutelageError("presidio is missing")

    assert shown(control_world, scrub).problem == "presidio is missing"


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(TutelageError, match="could not be scrubbed"):
        run_preview(b"not json")
