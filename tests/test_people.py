"""Names of people without and with a language model."""

from types import SimpleNamespace

import pytest

from tutelage.distill.findings import Finding
from tutelage.distill.people import by_model, by_rules, is_first_name, looks_like_a_name, name_lists
from tutelage.traffic.errors import MissingExtra


def names(text: str, *languages: str) -> list[str]:
    found = by_rules(languages or ("en",))(text)
    return sorted({text[item.start : item.end] for item in found})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Emma Kim wants a refund", ["Emma Kim"]),
        ("my name is Xylon Qarth, hi", ["Xylon Qarth"]),
        ("Dear Mr. Xylon, hello", ["Xylon"]),
        ("Hi, I'm Sophia.", ["Sophia"]),
        ("Please ask Juan de la Cruz about it", ["Juan de la Cruz"]),
        ("Jürgen Müller called", ["Jürgen Müller"]),
        ("John R. Miller called", ["John R. Miller"]),
    ],
)
def test_names(text: str, expected: list[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Mark the file as read",
        "Turn on the Kitchen Light in Emma Room",
        "the April Summer Sale at Jordan Street",
        "Paris Hilton Hotel, Georgia, Virginia Beach",
        "I'm Happy to help",
        "Dear Customer Support",
        "HASSTURNON is a tool; see https://example.org/Emma/Kim",
        "Emma Street is closed",
    ],
)
def test_words_that_only_look_like_names(text: str) -> None:
    assert names(text) == []


def test_other_languages_have_words_of_their_own() -> None:
    assert names("Ich heiße Xaver Quandt", "de") == ["Xaver Quandt"]
    assert names("Je m'appelle Zoubida", "fr") == ["Zoubida"]
    assert names("Ich heiße Xqr", "en") == []
    assert names("Emma Kim", "xx") == ["Emma Kim"], "lists need no words"


def test_whole_values() -> None:
    assert looks_like_a_name("Emma Kim")
    assert not looks_like_a_name("Office Chair")
    assert not looks_like_a_name("Mark")
    assert not looks_like_a_name("emma")
    assert is_first_name("Emma")
    assert not is_first_name("April")
    assert len(name_lists().first) > 3000


def test_the_largest_model_of_each_language() -> None:
    loaded: list[str] = []

    def load(name: str) -> object:
        loaded.append(name)
        return lambda text: SimpleNamespace(
            ents=[SimpleNamespace(start_char=0, end_char=4, label_="PER"), SimpleNamespace(label_="DATE")]
        )

    recognise = by_model(("en", "de", "fr"), (), load, ["en_core_web_sm", "en_core_web_lg", "de_core_news_md"])
    assert recognise is not None
    assert list(recognise("Anna came on Monday")) == [Finding("PERSON", 0, 4, 0.85)] * 2
    assert loaded == ["en_core_web_lg", "de_core_news_md"]


def test_no_model() -> None:
    assert by_model(("en",), installed=["de_core_news_sm"]) is None


def test_a_model_that_is_named_must_be_there() -> None:
    with pytest.raises(MissingExtra, match="my_names"):
        by_model(models=("my_names",), installed=[])
