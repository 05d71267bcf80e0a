"""Drawing sessions inside a query."""

from pathlib import Path

from tutelage.proxy.draws import Draw, draw_for
from tutelage.traffic.store import Store


def drawn(store: Store, draw: Draw, n: int = 4000) -> set[str]:
    sql = f"SELECT s FROM (SELECT 'session ' || range AS s FROM range({n})) WHERE {draw.sql('s')}"
    return {name for (name,) in store.rows(sql)}


def test_a_share_is_drawn_and_a_larger_one_holds_it(tmp_path: Path) -> None:
    with Store(tmp_path / "store.duckdb") as store:
        shares = [drawn(store, draw_for(b"secret", "review", share)) for share in (0.0, 0.05, 0.2, 1.0)]
        sizes = [len(found) for found in shares]
        assert sizes[0] == 0
        assert 140 <= sizes[1] <= 260
        assert 700 <= sizes[2] <= 900
        assert sizes[3] == 4000
        assert shares[1] < shares[2]


def test_draws_for_different_purposes_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    with Store(tmp_path / "store.duckdb") as store:
        review, noise = (drawn(store, draw_for(b"secret", purpose, 0.5)) for purpose in ("review", "noise"))
        assert 900 <= len(review & noise) <= 1100
        assert drawn(store, draw_for(b"secret", "review", 0.5)) == review
