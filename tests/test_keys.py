"""Admission by key on the request path, and a list of keys that fails static."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tutelage.proxy.callers import caller_of, caller_of_key
from tutelage.proxy.key_rates import SLOTS, KeyRates
from tutelage.proxy.key_text import hash_of, new_key
from tutelage.proxy.keys import Admission, KeyEntry, KeyRing, KeyTable, proxy_key
from tutelage.traffic.layout import publish

SECRET = b"s" * 32
NOW = 1_800_000_000.0
KEY, OTHER = new_key(), new_key()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "content-type": "application/json"}


class Gate:
    """A ring over a list that tests write as the control plane would."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.json"
        self.rates = KeyRates(folder / "rates.bin")
        self.ring = KeyRing(self.path, self.rates, SECRET, every_s=0.0)

    def write(self, **fields: Any) -> None:
        entry = KeyEntry(**{"key_id": "key_1", "hash": hash_of(KEY), **fields})
        publish(self.path, msgspec.json.encode(KeyTable(keys=(entry,))))

    def admit(self, key: str = KEY, now: float = NOW) -> Admission:
        return self.ring.admit(bearer(key), now)

    def refused(self, key: str = KEY, now: float = NOW) -> tuple[int, str, str]:
        problem = self.admit(key, now).problem
        assert problem is not None
        assert KEY not in problem.body().decode()
        return problem.status, problem.code, problem.message


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    opened = Gate(tmp_path)
    yield opened
    opened.rates.close()


def test_the_agents_own_key_passes_through(gate: Gate) -> None:
    for named in (bearer("sk-proj-1"), {"x-api-key": "sk-ant-1"}, {}, {"authorization": ""}):
        admission = gate.ring.admit(named, NOW)
        assert (admission.ok, admission.key_id) == (True, "")
        assert admission.caller == caller_of(named, SECRET)
        assert admission.refuse_model("any") is None
        assert admission.refuse_teacher("", "key_env") is None


def test_where_keys_are_required_nothing_else_comes_in(gate: Gate) -> None:
    gate.write()
    ring = KeyRing(gate.path, gate.rates, SECRET, require_keys=True, every_s=0.0)
    for named in (bearer("sk-proj-1"), {}):
        problem = ring.admit(named, NOW).problem
        assert problem is not None
        assert (problem.status, problem.code) == (401, "key_required")
        assert "tutelage keys create" in problem.message
    assert ring.admit(bearer(KEY), NOW).ok


@pytest.mark.parametrize(
    "named",
    [
        bearer(KEY),
        {"authorization": f"bearer   {KEY} "},
        {"authorization": KEY},
        {"authorization": f"Token {KEY}"},
        {"api-key": KEY},
        {"x-api-key": KEY},
        {"authorization": "Bearer sk-other", "x-api-key": KEY},
    ],
)
def test_a_key_of_ours_is_known_in_every_header(gate: Gate, named: dict[str, str]) -> None:
    gate.write()
    admission = gate.ring.admit(named, NOW)
    assert (admission.ok, admission.key_id, admission.caller) == (True, "key_1", caller_of_key("key_1", SECRET))


@pytest.mark.parametrize("text", ["", "Bearer sk-1", "Bearer xsk-tu-1", "sk-tu-a b"])
def test_other_keys_are_none_of_ours(text: str) -> None:
    assert proxy_key({"authorization": text, "accept": KEY}) == ""


def test_each_reason_of_a_refusal_is_named(gate: Gate) -> None:
    gate.write()
    status, code, message = gate.refused(OTHER)
    assert (status, code) == (401, "invalid_api_key")
    assert "no such key" in message
    status, code, message = gate.refused(KEY[:-1] + ("a" if KEY[-1] != "a" else "b"))
    assert (status, code) == (401, "invalid_api_key")
    assert "mistyped" in message
    gate.write(revoked_at=NOW - 5)
    status, code, message = gate.refused()
    assert (status, code) == (401, "invalid_api_key")
    assert "key_1 was revoked on 2027-01-15" in message
    gate.write(expires_at=NOW)
    status, code, message = gate.refused()
    assert (status, code) == (401, "invalid_api_key")
    assert "expired on 2027-01-15" in message
    assert gate.admit(now=NOW - 0.001).ok


def test_a_refused_caller_is_marked_and_its_key_is_not_ours(gate: Gate) -> None:
    gate.write(revoked_at=NOW)
    assert gate.admit(OTHER).key_id == ""
    assert gate.admit(OTHER).caller == caller_of(bearer(OTHER), SECRET)
    assert gate.admit(KEY).caller == caller_of_key("key_1", SECRET)


def test_a_used_up_budget_is_a_quota_error_that_is_not_tried_again(gate: Gate) -> None:
    spent = {"budget_usd": 10.0, "spent_usd": 10.5, "budget_tokens": 1000, "spent_tokens": 7}
    gate.write(exhausted=True, resets_at=NOW + 60, period="day", **spent)
    status, code, message = gate.refused()
    assert (status, code) == (429, "insufficient_quota")
    assert "10.50 of 10.00 dollars and 7 of 1000 tokens" in message
    problem = gate.admit().problem
    assert problem is not None
    assert problem.type == "insufficient_quota"
    assert ("x-should-retry", "false") in problem.headers
    assert gate.admit(now=NOW + 60).ok, "a new period begins, whoever is there to write it down"


def test_the_rate_limits_and_tells_when_to_come_again(gate: Gate) -> None:
    gate.write(rate=30.0, burst=3, slot=9)
    assert [gate.admit().ok for _ in range(3)] == [True] * 3
    problem = gate.admit().problem
    assert problem is not None
    assert (problem.status, problem.code, problem.type) == (429, "rate_limit_exceeded", "requests")
    headers = dict(problem.headers)
    assert headers["retry-after"] == "2"
    assert 1990 <= int(headers["retry-after-ms"]) <= 2001
    assert headers["x-ratelimit-limit-requests"] == "30"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"] in ("6s", "6.1s")
    later = NOW + int(headers["retry-after-ms"]) / 1000
    assert gate.admit(now=later).ok
    assert not gate.admit(now=later).ok


@pytest.mark.parametrize(("rate", "burst", "reset"), [(120, 1, "500ms"), (1, 5, "5m0s"), (40, 1, "1.5s")])
def test_the_reset_is_written_as_openai_writes_it(gate: Gate, rate: float, burst: int, reset: str) -> None:
    gate.write(rate=rate, burst=burst)
    now = 1.0  # small enough for times to be exact
    while (problem := gate.admit(now=now).problem) is None:
        pass
    assert dict(problem.headers)["x-ratelimit-reset-requests"] == reset


def test_what_is_refused_does_not_count(gate: Gate) -> None:
    gate.write(rate=1.0, burst=1, revoked_at=NOW)
    assert not gate.admit().ok
    gate.write(rate=1.0, burst=1)
    assert gate.admit().ok


def test_a_key_for_some_models_is_good_for_no_others(gate: Gate) -> None:
    gate.write(models=("gpt-5*", "tiny"))
    admission = gate.admit()
    assert admission.ok
    for model in ("gpt-5-mini", "tiny"):
        assert admission.refuse_model(model) is None
    for model in ("gpt-4", "GPT-5", "tiny-2", ""):
        problem = admission.refuse_model(model)
        assert problem is not None
        assert (problem.status, problem.code) == (403, "model_not_allowed")
        assert "gpt-5*, tiny" in problem.message


def test_our_keys_are_never_sent_to_a_teacher(gate: Gate) -> None:
    gate.write()
    admission = gate.admit()
    assert admission.refuse_teacher("sk-the-proxys-own", "teacher_key_env") is None
    problem = admission.refuse_teacher("", "teachers.big.key_env")
    assert problem is not None
    assert (problem.status, problem.code) == (500, "teacher_key_missing")
    assert "Set teachers.big.key_env" in problem.message
    assert ("x-should-retry", "false") in problem.headers


def test_changes_are_seen_and_a_broken_or_missing_list_leaves_the_last_one_in_use(gate: Gate) -> None:
    assert gate.refused()[0] == 401
    gate.write()
    assert gate.admit().ok
    for broken in (b"", b"{", b'{"keys": [{"key_id": 1}]}', msgspec.json.encode(KeyTable(keys=(bad_hash(),)))):
        publish(gate.path, broken)
        assert gate.admit().ok
        assert "keys.json" in gate.ring.error
    gate.path.unlink()
    assert gate.admit().ok
    gate.write(revoked_at=NOW)
    assert not gate.admit().ok
    assert gate.ring.error == ""


def bad_hash() -> KeyEntry:
    return KeyEntry(key_id="key_1", hash="no hex")


def test_a_list_that_was_never_readable_is_no_reason_to_call_a_key_wrong(gate: Gate) -> None:
    gate.path.write_bytes(b"{")
    assert gate.refused()[:2] == (503, "keys_unavailable")


@pytest.mark.parametrize("field", [{"slot": SLOTS}, {"slot": -1}, {"burst": 0}, {"rate": -1.0}])
def test_a_list_with_impossible_limits_is_not_taken(gate: Gate, field: dict[str, Any]) -> None:
    gate.write(**field)
    assert gate.refused()[:2] == (503, "keys_unavailable")


def test_the_file_is_looked_at_a_few_times_a_second_also_when_the_clock_goes_back(gate: Gate) -> None:
    ring = KeyRing(gate.path, gate.rates, SECRET, every_s=0.2)
    assert not ring.admit(bearer(KEY), NOW).ok
    gate.write()
    assert not ring.admit(bearer(KEY), NOW + 0.1).ok
    assert ring.admit(bearer(KEY), NOW + 0.2).ok
    gate.write(revoked_at=NOW)
    assert not ring.admit(bearer(KEY), NOW - 3600).ok


def test_admission_is_cheap(gate: Gate) -> None:
    """Some 4 µs on an idle core; the bound is for a busy one."""
    gate.write(rate=1e6, burst=100_000)
    ring, named = KeyRing(gate.path, gate.rates, SECRET), bearer(KEY)
    assert ring.admit(named, time.time()).ok
    begun = time.perf_counter()
    for _ in range(10_000):
        ring.admit(named, time.time())
    assert (time.perf_counter() - begun) / 10_000 < 200e-6
