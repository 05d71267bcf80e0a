"""The outer form of values."""

import hashlib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.forms import base58check, cased_like, date_like, folded, is_base58, luhn, refill


def test_check_digits() -> None:
    assert luhn("411111111111111") == "1"
    # The first address of Bitcoin's chain.
    digest = bytes.fromhex("62e907b15cbf27d5425399ebf6f0fb50ebb88f18")
    assert base58check(b"\0" + digest) == "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"
    assert is_base58("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa")
    assert not is_base58("bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh")


@given(st.dates(date(1930, 1, 1), date(2020, 12, 28)), st.integers(0, 10**9))
def test_dates_stay_dates(day: date, seed: int) -> None:
    def number(low: int, high: int) -> int:
        return low + int.from_bytes(hashlib.sha256(f"{seed}{low}{high}".encode()).digest()[:4], "big") % (high - low)

    other = date_like(day.isoformat(), number)
    assert date.fromisoformat(other) != day
    german = date_like(f"{day.day:02d}.{day.month:02d}.{day.year}", number)
    assert 1 <= int(german[:2]) <= 31
    assert len(german) == 10


@pytest.mark.parametrize("text", ["May 4, 1984", "4 Sep 1984", "September 14th, 1984"])
def test_dates_in_words(text: str) -> None:
    other = date_like(text, lambda low, high: low)
    assert other
    assert other != text
    assert other[-4:].isdigit()


def test_unknown_dates() -> None:
    assert date_like("yesterday", lambda low, high: low) == ""


def test_letters() -> None:
    assert refill("(ab) 1-2", "xyzw") == "(xy) z-w"
    assert [cased_like("mia", form) for form in ("ANNA", "Anna", "anna", "A")] == ["MIA", "Mia", "mia", "Mia"]
    assert folded("Kašpar Ünal") == "kaspar unal"
