import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.distill.surrogates import Surrogates

KEY = b"k" * 32


def luhn_valid(number: str) -> bool:
    digits = [int(char) for char in number if char.isdigit()]
    doubled = [d if place % 2 == 0 else sum(divmod(2 * d, 10)) for place, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def iban_valid(iban: str) -> bool:
    plain = re.sub(r"\W", "", iban)
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def test_same_value_same_stand_in_within_a_scope_only():
    one = Surrogates(KEY, "t1").of("EMAIL_ADDRESS", "anna.keller@firma.de")
    assert one == Surrogates(KEY, "t1").of("EMAIL_ADDRESS", "anna.keller@firma.de")
    assert one != Surrogates(KEY, "t2").of("EMAIL_ADDRESS", "anna.keller@firma.de")
    assert one != Surrogates(b"x" * 32, "t1").of("EMAIL_ADDRESS", "anna.keller@firma.de")


def test_email_keeps_its_form_and_a_public_host():
    found = Surrogates(KEY, "t").of("EMAIL_ADDRESS", "anna.keller82@example.org")
    assert re.fullmatch(r"[a-z]+\.[a-z]+\d\d@example\.org", found)
    private = Surrogates(KEY, "t").of("EMAIL_ADDRESS", "a_lind@smallfirm.co.uk")
    assert re.fullmatch(r"[a-z]_[a-z]+@[a-z]+\.co\.uk", private)
    assert "smallfirm" not in private


def test_a_name_is_the_same_in_text_and_in_an_address():
    surrogates = Surrogates(KEY, "t")
    person, mail = surrogates.of("PERSON", "Anna Keller"), surrogates.of("EMAIL_ADDRESS", "anna.keller@gmail.com")
    assert person.lower().replace(" ", ".") == mail.partition("@")[0]
    assert person.istitle()


@pytest.mark.parametrize("value", ["(212) 555-0188", "+1 212-555-0188", "212.555.0188", "+49 30 901820"])
def test_phone_keeps_its_form(value: str):
    found = Surrogates(KEY, "t").of("PHONE_NUMBER", value)
    assert re.sub(r"\d", "0", found) == re.sub(r"\d", "0", value)
    assert found != value


def test_a_phone_number_written_in_two_ways_stays_one_number():
    surrogates = Surrogates(KEY, "t")
    one, other = surrogates.of("PHONE_NUMBER", "(212) 555-0188"), surrogates.of("PHONE_NUMBER", "+1 2125550188")
    assert re.sub(r"\D", "", one) == re.sub(r"\D", "", other)[1:]


@given(st.text("0123456789", min_size=12, max_size=18))
def test_card_numbers_stay_valid(digits: str):
    assert luhn_valid(Surrogates(KEY, "t").of("CREDIT_CARD", digits))


def test_card_and_iban_keep_marks_and_checks():
    card = Surrogates(KEY, "t").of("CREDIT_CARD", "4111 1111 1111 1111")
    assert re.fullmatch(r"4\d{3} \d{4} \d{4} \d{4}", card)
    iban = Surrogates(KEY, "t").of("IBAN_CODE", "DE89 3704 0044 0532 0130 00")
    assert re.fullmatch(r"DE\d\d( \d{4}){4} \d\d", iban)
    assert iban_valid(iban)


def test_addresses_of_machines():
    assert re.fullmatch(r"10(\.\d{1,3}){3}", Surrogates(KEY, "t").of("IP_ADDRESS", "10.0.0.1"))
    assert re.fullmatch(r"[0-9a-f:]{17}", Surrogates(KEY, "t").of("MAC_ADDRESS", "00:1b:44:11:3a:b7"))


@given(
    st.sampled_from(["PERSON", "PHONE_NUMBER", "US_SSN", "IP_ADDRESS"]),
    st.from_regex(r"\d{3}-\d{2}-\d{4}", fullmatch=True),
)
def test_never_the_value_itself(kind: str, value: str):
    assert Surrogates(KEY, "t").of(kind, value) != value


def test_names_and_addresses_agree_however_they_are_joined():
    values = {"Anna Kašpar": "PERSON", "akaspar@gmail.com": "EMAIL_ADDRESS", "anna_kaspar_12": "USER_NAME"}
    given_ = Surrogates(KEY, "t").assign(values)
    first, last = given_["Anna Kašpar"].lower().split()
    assert given_["akaspar@gmail.com"] == f"{first[0]}{last}@gmail.com"
    assert given_["anna_kaspar_12"].startswith(f"{first}_{last}_")


def test_a_word_of_a_name_is_never_its_own_stand_in():
    for number in range(300):
        name = Surrogates(KEY, f"t{number}").of("PERSON", "Tiffany Shannon")
        assert not {"Tiffany", "Shannon"} & set(name.split())


@given(st.sets(st.from_regex(r"[a-z]{2,4}@[a-z]\.de", fullmatch=True), min_size=2, max_size=40))
def test_no_two_values_share_a_stand_in_and_none_is_a_value(values: set[str]):
    given_ = Surrogates(KEY, "t").assign(dict.fromkeys(values, "EMAIL_ADDRESS"))
    assert len(set(given_.values())) == len(values)
    assert not set(given_.values()) & values
    again = Surrogates(KEY, "t").assign(dict.fromkeys(sorted(values, reverse=True), "EMAIL_ADDRESS"))
    assert again == given_, "the order does not matter"


@pytest.mark.parametrize(
    ("kind", "value", "form"),
    [
        ("STREET_ADDRESS", "109 Willow Lane, Suite 171", r"\d{3} [A-Z][a-z]+ Lane, Suite \d{3}"),
        ("STREET_ADDRESS", "Hauptstraße 12b", r"[A-Z][a-z]+straße \d{2}b"),
        ("DATE_OF_BIRTH", "1977-09-23", r"19[67]\d-\d\d-\d\d"),
        ("SECRET", "sk-proj-abcdef0123456789", r"sk-proj-\w{16}"),
        ("CRYPTO", "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", r"1[1-9A-Za-z]{25,34}"),
        ("PASSPORT", "X1234567", r"[A-Z]\d{7}"),
        ("USER_NAME", "mia_li_3668", r"[a-z]+_[a-z]+_\d{4}"),
        ("DENIED", "Blue Sparrow", r"[A-Z][a-z]+ [A-Z][a-z]+"),
        ("POSTAL_CODE", "19151", r"\d{5}"),
    ],
)
def test_forms_are_kept(kind: str, value: str, form: str):
    found = Surrogates(KEY, "t").of(kind, value)
    assert re.fullmatch(form, found), found
    assert found != value


def test_a_hash_is_the_same_in_all_scopes():
    one, other = Surrogates(KEY, "t1"), Surrogates(KEY, "t2")
    assert one.hashed("c-17") == other.hashed("c-17") != one.hashed("c-18")
    assert re.fullmatch(r"[0-9a-f]{16}", one.hashed("c-17"))
    assert re.fullmatch(r"[1-9]\d{4}", one.hashed("48151"))
