"""Events of a stream as values."""

import pytest

from tutelage.traffic.dialect import events
from tutelage.traffic.errors import BadInput


def test_events_are_values_without_the_end_mark() -> None:
    assert list(events(b': ping\n\ndata: {"a": 1}\r\n\r\ndata: [DONE]\n\ndata:\n\ndata: 2\n\n')) == [{"a": 1}, 2]


def test_a_last_event_that_was_cut_off_is_left_out() -> None:
    assert list(events(b'data: 1\n\ndata: {"a')) == [1]
    assert list(events(b"data: 1\n\ndata: 2")) == [1, 2]


def test_damage_in_the_middle_is_told() -> None:
    with pytest.raises(BadInput, match="Expected a JSON text"):
        list(events(b'data: {"a\n\ndata: 1\n\n'))
