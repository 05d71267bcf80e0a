"""Keys in the control plane: made once, hashed for good, published at every change, stopped by their budget."""

import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from tutelage.proxy import key_store
from tutelage.proxy.callers import caller_of_key
from tutelage.proxy.key_limits import Limits, NewKey
from tutelage.proxy.key_rates import KeyRates
from tutelage.proxy.key_store import KeyBook
from tutelage.proxy.key_text import form_fault, hash_of
from tutelage.proxy.keys import Admission, KeyEntry, KeyRing, KeyTable
from tutelage.proxy.options import Price
from tutelage.traffic.errors import BadInput, UnknownName
from tutelage.traffic.layout import DataDir
from tutelage.traffic.store import Store


class Desk:
    """The book over the store of a world, and a worker's ring over what it publishes."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.book = self.open()
        self.rates = KeyRates(world.data.rates)
        self.ring = KeyRing(world.data.keys, self.rates, world.data.read_secret(), every_s=0.0)

    def open(self, **prices: Price) -> KeyBook:
        world = self.world
        return KeyBook(world.plane.store, world.data, prices or world.options.prices, lambda: world.now)

    def make(self, **limits: Any) -> NewKey:
        return self.book.create(Limits(**{"name": "ci", **limits}))

    def published(self) -> tuple[KeyEntry, ...]:
        return msgspec.json.decode(self.world.data.keys.read_bytes(), type=KeyTable).keys

    def admit(self, key: str) -> Admission:
        return self.ring.admit({"authorization": f"Bearer {key}"}, self.world.now)

    def code(self, key: str) -> str:
        problem = self.admit(key).problem
        return problem.code if problem else "ok"


@pytest.fixture
def desk(control_world: Any) -> Any:
    opened = Desk(control_world)
    yield opened
    opened.rates.close()


def test_a_new_key_is_good_at_once(desk: Desk) -> None:
    made = desk.make(rate=60.0, models=("gpt-*",), budget_usd=5.0, expires_at=desk.world.now + 10)
    assert form_fault(made.key) == ""
    admission = desk.admit(made.key)
    assert (admission.ok, admission.key_id, admission.caller) == (True, made.key_id, made.caller)
    assert made.caller == caller_of_key(made.key_id, desk.world.data.read_secret())
    (entry,) = desk.published()
    assert (entry.hash, entry.rate, entry.burst, entry.models) == (hash_of(made.key), 60.0, 10, ("gpt-*",))
    desk.world.now += 10
    assert desk.code(made.key) == "invalid_api_key"
    assert desk.book.get("ci").state == "expired"


def test_a_key_is_found_by_id_or_name_unless_several_have_it(desk: Desk) -> None:
    first = desk.make()
    assert desk.book.get("ci").key_id == desk.book.get(first.key_id).key_id == first.key_id
    desk.world.now += 1
    second = desk.make()
    with pytest.raises(BadInput, match=f"{first.key_id}, {second.key_id}"):
        desk.book.revoke("ci")
    for call in (desk.book.get, desk.book.revoke, lambda name: desk.book.update(name, {"rate": 1.0})):
        with pytest.raises(UnknownName, match="no key 'nobody'"):
            call("nobody")
    assert [row.key_id for row in desk.book.listed()] == [second.key_id, first.key_id]


def test_a_revoked_key_stays_revoked(desk: Desk) -> None:
    made, other = desk.make(), desk.make(name="other")
    assert desk.book.revoke(made.key_id).state == "revoked"
    assert (desk.code(made.key), desk.code(other.key)) == ("invalid_api_key", "ok")
    revoked_at = desk.book.get(made.key_id).revoked_at
    desk.world.now += 5
    assert desk.book.revoke(made.key_id).revoked_at == revoked_at
    with pytest.raises(BadInput, match="was revoked and stays so"):
        desk.book.update(made.key_id, {"rate": 1.0})


def test_an_update_changes_what_is_named_and_nothing_else(desk: Desk) -> None:
    made = desk.make(rate=60.0, budget_tokens=1000)
    before = msgspec.structs.asdict(desk.book.get("ci"))
    row = desk.book.update("ci", {"rate": 1.0, "burst": 2, "models": ("tiny",), "name": "nightly"})
    changed = {field for field, value in msgspec.structs.asdict(row).items() if value != before[field]}
    assert changed == {"rate", "burst", "models", "name"}
    assert desk.admit(made.key).refuse_model("big") is not None
    assert [desk.code(made.key) for _ in range(2)] == ["ok", "rate_limit_exceeded"]
    with pytest.raises(BadInput, match="rate must be"):
        desk.book.update("nightly", {"rate": -1.0})
    assert desk.book.update("nightly", {"expires_at": desk.world.now}).state == "expired"
    assert desk.book.update("nightly", {"expires_at": 0.0}).state == "active"


def test_valid_keys_never_share_a_place_in_the_rates(desk: Desk) -> None:
    made = [desk.make() for _ in range(4)]
    assert [entry.slot for entry in desk.published()] != []
    assert sorted(entry.slot for entry in desk.published()) == [0, 1, 2, 3]
    slots = {entry.key_id: entry.slot for entry in desk.published()}
    desk.book.revoke(made[2].key_id)
    again = desk.make()
    slots_now = {entry.key_id: entry.slot for entry in desk.published()}
    assert slots_now[again.key_id] == slots[made[2].key_id], "a revoked key gives its place back"


def spend(desk: Desk, made: NewKey, calls: int = 1, **fields: Any) -> None:
    """Calls of 100 + 10 tokens that cost $0.00028 each."""
    desk.world.play(calls, caller=made.caller, **fields)
    desk.book.review()


def test_a_dollar_budget_stops_the_key_and_starts_anew(desk: Desk) -> None:
    made, other = desk.make(budget_usd=0.001, period="day"), desk.make(name="other")
    spend(desk, made, 3)
    assert desk.code(made.key) == "ok"
    spend(desk, other, 50)
    assert desk.code(made.key) == "ok"
    spend(desk, made, 1)
    row = desk.book.get("ci")
    assert (row.state, row.calls, row.spent_usd, row.uncounted) == ("exhausted", 4, pytest.approx(0.00112), 0)
    assert (desk.code(made.key), desk.code(other.key)) == ("insufficient_quota", "ok")
    assert desk.book.update("ci", {"budget_usd": 1.0}).state == "active"
    assert desk.code(made.key) == "ok"
    desk.book.update("ci", {"budget_usd": 0.001})
    assert desk.code(made.key) == "insufficient_quota"
    desk.world.now += 86_400
    assert desk.code(made.key) == "ok", "without anybody writing a new list"
    desk.book.review()
    assert (desk.book.get("ci").state, desk.book.get("ci").calls) == ("active", 0)


def test_a_token_budget_counts_the_students_answers_too(desk: Desk) -> None:
    made = desk.make(budget_tokens=220, period="month")
    spend(desk, made, 1, route="student", student="parcels@1")
    assert desk.code(made.key) == "ok"
    spend(desk, made, 1)
    assert desk.code(made.key) == "insufficient_quota"


def test_a_model_without_a_price_is_told(desk: Desk) -> None:
    made = desk.make(budget_usd=0.0001)
    desk.book = desk.open(other=Price(1.0, 1.0))
    spend(desk, made, 2)
    row = desk.book.get("ci")
    assert (row.state, row.uncounted, row.spent_usd) == ("active", 2, 0.0)


def test_the_list_is_written_only_when_something_in_it_is_new(desk: Desk) -> None:
    desk.make(budget_usd=1.0)
    path = desk.world.data.keys
    written = path.stat().st_ino, path.stat().st_mtime_ns
    desk.book.review()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == written
    path.write_bytes(b"{")
    desk.book.review()
    assert len(desk.published()) == 1
    path.unlink()
    desk.book.review()
    assert len(desk.published()) == 1


def test_keys_outlive_the_control_plane(desk: Desk) -> None:
    made = desk.make(rate=60.0)
    desk.world.reopen()
    desk.book = desk.open()
    assert desk.book.get("ci").key_id == made.key_id
    assert desk.code(made.key) == "ok"


def test_changes_that_come_together_are_all_published(desk: Desk) -> None:
    threads = [threading.Thread(target=desk.make, kwargs={"name": f"k{n}"}) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry.key_id for entry in desk.published()} == {row.key_id for row in desk.book.listed()}
    assert len({entry.slot for entry in desk.published()}) == 8


def test_the_watch_reviews_at_once_and_survives_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, stop = DataDir(tmp_path).prepare(), threading.Event()
    store = Store(data.store)
    book = KeyBook(store, data, {})
    watch = threading.Thread(target=book.run, args=(stop, 0.02))
    data.keys.mkdir()  # a folder in the way: the list cannot be written
    watch.start()
    _wait(lambda: "will be tried again" in caplog.text)
    data.keys.rmdir()
    _wait(data.keys.is_file)
    stop.set()
    watch.join(10)
    assert not watch.is_alive()
    store.close()


def _wait(fact: Any) -> None:
    until = time.monotonic() + 10
    while not fact():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_too_many_keys_is_said(desk: Desk) -> None:
    row = "SELECT 'k' || n, 'n', 'h', n, 0, 0, 0, 0, 0, 0, 0, 'day', '[]' FROM range(65536) AS r(n)"
    desk.world.plane.store.execute(f"INSERT INTO proxy_keys {row}")
    with pytest.raises(BadInput, match="65536 valid keys already"):
        desk.make()


def test_no_text_of_a_key_is_on_disk_after_use(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    made = desk.make(budget_usd=1.0, rate=60.0)
    for _ in range(3):
        assert desk.admit(made.key).ok
    assert desk.code(made.key[:-1]) == "invalid_api_key"
    spend(desk, made, 3)
    desk.book.update("ci", {"rate": 1.0})
    desk.book.revoke("ci")
    desk.world.plane.store.checkpoint()
    secret_part = made.key[len("sk-tu-") :][:20].encode()
    files = [path for path in desk.world.data.root.rglob("*") if path.is_file()]
    assert {"store.duckdb", "keys.json", "rates.bin"} <= {path.name for path in files}
    assert [path.name for path in files if secret_part in path.read_bytes()] == []
    assert made.key not in caplog.text
    assert "key" not in msgspec.to_builtins(desk.book.get("ci"))
    assert key_store.hash_of(made.key).encode() in desk.world.data.keys.read_bytes()


def test_the_table_of_keys_has_no_column_for_their_text(desk: Desk) -> None:
    columns = [row["column_name"] for row in desk.world.plane.store.query("DESCRIBE proxy_keys")]
    assert "hash" in columns
    assert "key" not in columns
    with pytest.raises(duckdb.Error):
        desk.world.plane.store.query("SELECT key FROM proxy_keys")
