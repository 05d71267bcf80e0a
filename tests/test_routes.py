"""The route table: assignment that never flips a session back, and a reader that fails static."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.routes import BUCKETS, Route, RouteReader, RouteTable, assigned, bucket, publish_table, route_for


@given(session=st.text(), salt=st.text(), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_raising_the_share_flips_nobody_back(session: str, salt: str, shares: tuple[float, float]) -> None:
    low, high = sorted(shares)
    if assigned(Route(state="canary", share=low, salt=salt), session):
        assert assigned(Route(state="canary", share=high, salt=salt), session)


def test_shares_are_kept_and_salts_shuffle() -> None:
    sessions = [f"s{number}" for number in range(4000)]
    for share in (0.0, 0.1, 0.4, 1.0):
        served = sum(assigned(Route(state="canary", share=share, salt="a"), session) for session in sessions)
        assert served == pytest.approx(share * len(sessions), abs=4 * (len(sessions) * 0.25) ** 0.5 * (0 < share < 1))
    both = sum(bucket("a", s) < BUCKETS // 10 and bucket("b", s) < BUCKETS // 10 for s in sessions)
    assert both < 80, "two salts choose different tenths"


def table(serial: int) -> RouteTable:
    return RouteTable(serial=serial, routes={"p_1": Route(state="live", student="desk@1", share=1.0, salt="x")})


def test_a_worker_sees_a_new_table(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    reader = RouteReader(path, every_s=0.0)
    assert reader.current() == RouteTable()
    publish_table(path, table(1))
    assert reader.current() == table(1)
    publish_table(path, table(2))
    assert reader.current().serial == 2


@pytest.mark.parametrize("content", [b"", b"{", b'{"serial": "x"}', b"[]", b"\xff"])
def test_a_broken_or_missing_table_leaves_the_last_one_in_use(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "routes.json"
    reader = RouteReader(path, every_s=0.0)
    publish_table(path, table(1))
    assert reader.current().serial == 1
    path.write_bytes(content)
    assert reader.current().serial == 1
    assert reader.error
    os.unlink(path)
    assert reader.current().serial == 1
    publish_table(path, table(3))
    assert reader.current().serial == 3
    assert not reader.error


def test_a_route_behind_survives_the_file(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    ahead = Route(state="canary", student="b@1", share=0.1, salt="x", threshold=-0.25, behind=table(1).routes["p_1"])
    publish_table(path, RouteTable(routes={"p_1": ahead}))
    assert RouteReader(path, every_s=0.0).current().routes["p_1"] == ahead
    assert route_for(Route(state="canary", student="b@1", share=0.0, salt="x"), "s") is None
