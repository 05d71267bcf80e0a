"""Putting stand-ins in the place of values."""

import re

import pytest

from tutelage.distill.exchange import Exchange, in_a_place, is_cased, name_parts
from tutelage.distill.surrogates import Surrogates

NAMES = {"Anna Keller": "PERSON", "Frank Decker": "PERSON"}


def exchange(kinds: dict[str, str]) -> Exchange:
    return Exchange(kinds, Surrogates(b"k" * 32, "t"))


def test_every_spelling_of_a_value() -> None:
    one = exchange({"a.b@firma.de": "EMAIL_ADDRESS", "(212) 555-0188": "PHONE_NUMBER"})
    mail, phone = one.given["a.b@firma.de"], one.given["(212) 555-0188"]
    assert one("A.B@Firma.de or a.b@firma.de") == f"{mail} or {mail}"
    assert one("call 2125550188") == f"call {re.sub('[^0-9]', '', phone)}"
    assert one("xa.b@firma.dex") == "xa.b@firma.dex", "whole words only"


def test_parts_of_a_name_mean_the_person() -> None:
    one = exchange(NAMES)
    first, last = one.given["Anna Keller"].split()
    frank = one.given["Frank Decker"].split()[0]
    assert one("Anna and Ms. Keller; keller") == f"{first} and Ms. {last}; keller"
    assert one("Thanks, Frank. To be Frank about it") == f"Thanks, {frank}. To be Frank about it"


@pytest.mark.parametrize("text", ["San Antonio", "from Fort Antonio on"])
def test_a_name_in_a_place_stays(text: str) -> None:
    assert exchange({"Antonio": "PERSON"})(text) == text
    assert in_a_place("in San Antonio", 7)
    assert not in_a_place("to Antonio", 3)


def test_hashes_and_local_values() -> None:
    one = Exchange({"c-4711": "HASHED", "yes": "FIELD"}, Surrogates(b"k", "t"), ["c-4711"], ["yes"])
    assert one("id c-4711") == f"id {Surrogates(b'k', 'other').hashed('c-4711')}"
    assert one("yes, of course") == "yes, of course"
    assert one.whole("yes") == one.given["yes"] != "yes"


def test_single_names_count_as_they_are_written() -> None:
    assert is_cased("Mark", "PERSON")
    assert not is_cased("Mark Lind", "PERSON")
    assert exchange({"Mark": "PERSON"})("mark it") == "mark it"
    assert name_parts("Anna K", "Mia Lo") == [("Anna", "Mia")]
    assert name_parts("Anna", "Mia") == []
