"""The tables behind the pages."""

from typing import Any

import pytest
from dashboard_site import busy, site_of

from tutelage.proxy.page_tables import Tables
from tutelage.proxy.views_evidence import EvidenceBook
from tutelage.traffic.errors import BadInput, UnknownName


def test_rows_are_those_of_the_page(control_world: Any) -> None:
    busy(control_world)
    site = site_of(control_world)
    tables = Tables(site, EvidenceBook(site.store))
    _, lines = tables.rows("patterns", {})
    assert [(line.state, line.n, line.calls) for line in lines] == [("canary", 20, 150)]
    _, changes = tables.rows("transitions", {"pattern": control_world.pattern})
    assert [change.after for change in changes][-2:] == ["canary", "shadow"]
    assert len(changes) == len(site.board.log.transitions(50, control_world.pattern))
    _, pairs = tables.rows("pairs", {"limit": "7"})
    assert len(pairs) == 7
    _, older = tables.rows("pairs", {"limit": "3", "before": pairs[3].pair_id})
    assert [one.pair_id for one in older] == [one.pair_id for one in pairs[4:7]]


def test_no_such_table_and_no_such_value(control_world: Any) -> None:
    site = site_of(control_world)
    tables = Tables(site, EvidenceBook(site.store))
    with pytest.raises(UnknownName, match="There are: traffic"):
        tables.rows("none", {})
    with pytest.raises(BadInput, match="'pattern'"):
        tables.rows("evidence", {})
    with pytest.raises(BadInput, match="limit"):
        tables.rows("runs", {"limit": "many"})
