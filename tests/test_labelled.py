"""Values that a field or a label makes personal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.distill.labelled import _FIELDS, _labelled_lines, in_text, kind_of_field, of_field


def found(text: str) -> set[tuple[str, str]]:
    return {(item.kind, text[item.start : item.end]) for item in in_text()(text)}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("first_name", "PERSON"),
        ("lastName", "PERSON"),
        ("customer-name", "PERSON"),
        ("dob", "DATE_OF_BIRTH"),
        ("address1", "STREET_ADDRESS"),
        ("zip", "POSTAL_CODE"),
        ("passportNumber", "PASSPORT"),
        ("ssn", "US_SSN"),
        ("password", "SECRET"),
        ("user_id", "USER_NAME"),
        ("name", ""),
        ("token", ""),
        ("file_name", ""),
        ("product_id", ""),
    ],
)
def test_names_of_fields(name: str, kind: str) -> None:
    assert kind_of_field(name) == kind


@pytest.mark.parametrize("pattern", _FIELDS.values(), ids=_FIELDS)
@settings(max_examples=30)
@given(data=st.data())
def test_the_line_of_every_label_is_looked_at(pattern: str, data: st.DataObject) -> None:
    label = data.draw(st.from_regex(f"(?ai:{pattern})", fullmatch=True).filter(lambda made: made[-1].isalnum()))
    mark = data.draw(st.sampled_from([":", "=", ": ", " =", "':", '"=', "**:", ":**", "** :"]))
    text = f"before: 1\nthe {label}{mark} value\nafter"
    assert text[slice(*list(_labelled_lines(text))[-1])] == f"the {label}{mark} value"


def test_the_value_must_look_like_it() -> None:
    assert of_field("1977-09-23", "dob") is not None
    assert of_field("unknown", "dob") is None
    assert of_field("null", "first_name") is None
    assert of_field("9f3c5b1e-2a44-4d0b-9f60-1b7c7d8e9a01", "user_id") is None
    assert of_field("user_12", "user_id") is None
    whole = of_field(" mia_li_3668 ", "user_id")
    assert whole is not None
    assert (whole.start, whole.end) == (1, 12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("first_name: Zdenka\nzip: 19151\nstatus: ok", {("PERSON", "Zdenka"), ("POSTAL_CODE", "19151")}),
        ("{'dob': '1990-01-02', 'n': 3}", {("DATE_OF_BIRTH", "1990-01-02")}),
        ("I was born on May 4, 1984.", {("DATE_OF_BIRTH", "May 4, 1984")}),
        ("my passport number is X1234567.", {("PASSPORT", "X1234567")}),
        ("**Date of birth:** 1990-01-02", {("DATE_OF_BIRTH", "1990-01-02")}),
        ("the password is hunter2.", {("SECRET", "hunter2")}),
        ("use sk-proj-abcdef0123456789xyz", {("SECRET", "sk-proj-abcdef0123456789xyz")}),
        ("109 Willow Lane, Suite 171, Philadelphia", {("STREET_ADDRESS", "109 Willow Lane, Suite 171")}),
        ("Hauptstraße 12b in Berlin", {("STREET_ADDRESS", "Hauptstraße 12b")}),
        ("it is emma_kim_9957's order", {("USER_NAME", "emma_kim_9957")}),
    ],
)
def test_in_texts(text: str, expected: set[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "It was created on 1990-01-02 and shipped 2024-05-17.",
        "flight_number_12 and credit_card_5832574",
        "the password is wrong",
        "10 Things To Do In Paris",
        "key: value, token: next_page_3",
        "2 Way Radio, 5 Star Hotel",
        "Handle: directly, login: myself",
    ],
)
def test_what_the_work_is_about_is_left(text: str) -> None:
    assert found(text) == set()


@given(st.text(max_size=200))
def test_spans_lie_inside_any_text(text: str) -> None:
    for item in in_text()(text):
        assert 0 <= item.start < item.end <= len(text)
