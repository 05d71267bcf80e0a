"""The proxy's keys over the wire: two real workers, a teacher that looks at the key it gets, the store's own book."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance.plane import Plane, Response, started

from tutelage.proxy.key_limits import Limits, NewKey
from tutelage.proxy.key_store import KeyBook
from tutelage.proxy.key_text import new_key
from tutelage.proxy.options import Price
from tutelage.traffic.ingest import Ingest
from tutelage.traffic.journal_reader import JournalReader
from tutelage.traffic.layout import DataDir
from tutelage.traffic.store import Store

OWN_KEY = "sk-the-proxys-own-0123456789"
CHAT = json.dumps({"model": "gpt-conformance", "messages": [{"role": "user", "content": "hi"}]}).encode()


class Office:
    """A running data plane of two workers and the book of its keys."""

    def __init__(self, plane: Plane, store: Store) -> None:
        self.plane, self.store = plane, store
        self.book = KeyBook(store, DataDir(plane.data), {"gpt-conformance": Price(1e6, 1e6)})

    def make(self, name: str, **limits: object) -> NewKey:
        return self.book.create(Limits(**{"name": name, **limits}))

    def ask(self, key: str, body: bytes = CHAT, path: str = "/v1/chat/completions") -> Response:
        return self.plane.ask(body, ("authorization", f"Bearer {key}"), path=path)

    def code(self, key: str) -> str:
        answer = self.ask(key)
        return "ok" if answer.status == 200 else json.loads(answer.body)["error"]["code"]

    def becomes(self, key: str, code: str) -> None:
        """Wait until the key's calls end so at whichever worker they come to."""
        begun = time.monotonic()
        while (found := self.code(key)) != code:
            assert time.monotonic() < begun + 10, found
            time.sleep(0.02)
        time.sleep(0.5)  # the other worker looks at the list five times a second, too


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    data = tmp_path_factory.mktemp("keys")
    patch = pytest.MonkeyPatch()
    patch.setenv("PROXYS_OWN_KEY", OWN_KEY)
    running = started(data, workers=2, teacher_key_env="PROXYS_OWN_KEY", require_keys=True)
    with running as plane, Store(data / "store.duckdb") as store:
        yield Office(plane, store)
    patch.undo()


def test_a_key_is_good_and_the_teacher_gets_the_proxys_own(office: Office) -> None:
    made = office.make("good")
    office.becomes(made.key, "ok")
    answer = office.ask(made.key)
    assert answer.status == 200
    assert office.plane.record(answer.call_id).caller == made.caller
    sent = [seen.get("authorization") for seen in office.plane.teacher.seen]
    assert set(sent) == {f"Bearer {OWN_KEY}"}


def test_nobody_comes_in_without_a_key_or_with_a_wrong_one(office: Office) -> None:
    assert office.code("sk-an-agents-own") == "key_required"
    assert office.code(new_key()) == "invalid_api_key"
    answer = office.ask(new_key()[:-1])
    assert answer.status == 401
    assert b"mistyped" in answer.body
    assert office.plane.record(answer.call_id).route == "none"


def test_a_revoked_key_is_refused_by_all_workers_within_a_second(office: Office) -> None:
    made = office.make("leaver")
    office.becomes(made.key, "ok")
    office.book.revoke("leaver")
    time.sleep(1.0)
    assert {office.code(made.key) for _ in range(20)} == {"invalid_api_key"}


def test_the_rate_holds_over_both_workers(office: Office) -> None:
    made = office.make("quick", rate=0.1, burst=5)
    office.becomes(made.key, "ok")
    answers = [office.ask(made.key) for _ in range(20)]
    assert [answer.status for answer in answers].count(200) == 4, "the fifth of the burst was the first call"
    refused = next(answer for answer in answers if answer.status == 429)
    assert 0 < int(refused.get("retry-after")) <= 600
    assert int(refused.get("retry-after-ms")) > 0
    assert refused.get("x-ratelimit-limit-requests") == "0.1"


def test_a_key_for_one_model_is_good_for_no_other_on_any_endpoint(office: Office) -> None:
    made = office.make("narrow", models=("gpt-other",))
    office.becomes(made.key, "model_not_allowed")
    embeddings = json.dumps({"model": "gpt-conformance", "input": "x"}).encode()
    assert office.ask(made.key, embeddings, "/v1/embeddings").status == 403
    assert office.ask(made.key, CHAT.replace(b"gpt-conformance", b"gpt-other")).status == 200


def test_a_budget_stops_the_key_once_its_calls_are_in_the_store(office: Office) -> None:
    made = office.make("spender", budget_usd=0.5)
    office.becomes(made.key, "ok")
    office.plane.record(lambda record: record.caller == made.caller and record.status == 200)
    batch = JournalReader(office.plane.data / "journal").read({}, 1 << 30)
    Ingest(office.store).apply(batch.records, {})
    office.book.review()
    assert office.book.get("spender").state == "exhausted"
    office.becomes(made.key, "insufficient_quota")
    assert office.ask(made.key).get("x-should-retry") == "false"


def test_no_key_is_in_any_file(office: Office) -> None:
    used = [office.make(f"used-{number}").key for number in range(2)]
    typed = used[1][:-1]
    office.becomes(used[0], "ok")
    for key in (typed, "sk-an-agents-own-secret"):
        call_id = office.ask(key).call_id
        office.plane.record(call_id)
    office.store.checkpoint()
    files = [path for path in office.plane.data.rglob("*") if path.is_file()]
    assert any(path.parent.parent.name == "journal" for path in files)
    secrets = [used[0][6:26], used[1][6:26], "agents-own-secret", OWN_KEY[3:]]
    held = [(path.name, text) for path in files for text in secrets if text.encode() in path.read_bytes()]
    assert held == []


def test_without_a_key_of_its_own_the_proxy_sends_none(tmp_path: Path) -> None:
    with started(tmp_path) as plane, Store(tmp_path / "store.duckdb") as store:
        office = Office(plane, store)
        made = office.make("ci")
        office.becomes(made.key, "teacher_key_missing")
        assert office.ask(made.key).status == 500
        assert plane.teacher.seen == [] or all(made.key not in str(seen.headers) for seen in plane.teacher.seen)
