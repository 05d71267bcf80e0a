"""Refusals and doubts in ten languages: what is one, what is none, and a user's own."""

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.proxy.options import ControlOptions, PhraseLanguage
from tutelage.proxy.phrases import LANGUAGES, Phrases, every_language

REFUSALS = {
    "en": "I'm sorry, but I can’t help with that.",
    "de": "Es tut mir leid, aber dabei kann ich dir nicht helfen.",
    "fr": "Désolé, mais je ne peux pas vous aider.",
    "es": "Lo siento, pero no puedo ayudarte con eso.",
    "it": "Mi dispiace, ma non posso aiutarti.",
    "pt": "Desculpe, mas não posso ajudar com isso.",
    "nl": "Het spijt me, maar ik kan je niet helpen.",
    "pl": "Przykro mi, ale nie mogę w tym pomóc.",
    "ja": "申し訳ありませんが、その依頼には応じられません。",
    "zh": "抱歉，我无法提供这些内容。",
}
DOUBTS = {
    "en": "Well, I don't know which one.",
    "de": "Das Datum lässt sich nicht feststellen.",
    "fr": "À vrai dire, je ne sais pas.",
    "es": "La verdad es que no lo sé.",
    "it": "Sinceramente, non lo so.",
    "pt": "Sobre isso eu não sei.",
    "nl": "Er is geen informatie over deze klant.",
    "pl": "Brak informacji o tym zamówieniu.",
    "ja": "この注文の状況は分かりません。",
    "zh": "根据现有信息无法确定日期。",
}
NEITHER = [
    "The lamp is on.",
    "I told him that he can't help it.",
    "Notenough information.",
    "Der Termin ist um 15 Uhr, wir helfen gern.",
    "Je peux vous aider tout de suite.",
    "No puedo imaginar un plan mejor, adelante.",
    "はい、できます。",
    "好的，我来帮助您。",
    "",
]


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_each_language_by_itself_and_among_all(language: str) -> None:
    alone, others = Phrases([language]), Phrases([name for name in LANGUAGES if name != language])
    for phrases in (alone, every_language()):
        assert phrases.refuses(REFUSALS[language])
        assert phrases.doubts(DOUBTS[language])
        assert not phrases.doubts(REFUSALS[language])
        assert not phrases.refuses(DOUBTS[language])
    assert not others.refuses(REFUSALS[language])
    assert not others.doubts(DOUBTS[language])


@pytest.mark.parametrize("text", NEITHER)
def test_what_is_neither(text: str) -> None:
    assert (every_language().refuses(text), every_language().doubts(text)) == (False, False)


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_phrase_is_found_with_and_without_regret(language: str) -> None:
    one, phrases = LANGUAGES[language], Phrases([language])
    for phrase in one.refuses:
        assert phrases.refuses(phrase.upper().lower())
        for sorry in one.sorry:
            assert phrases.refuses(f"{sorry}, {one.but[0]} {phrase} …"), (sorry, phrase)
    assert all(phrases.doubts(f"– {phrase}.") for phrase in one.doubts)


def test_a_refusal_is_one_at_the_beginning_only() -> None:
    assert every_language().refuses("  “Unfortunately I cannot help”")
    assert not every_language().refuses("It says: I cannot help.")


def test_ones_own_phrases() -> None:
    mine = Phrases([], ["Nu pot  să ajut"], ["nu știu"])
    assert mine.refuses("NU POT SĂ AJUT cu asta")
    assert mine.doubts("Sincer, nu știu.")
    assert not mine.doubts("nu știuse")
    assert not mine.refuses(REFUSALS["en"])
    none = Phrases([])
    assert (none.refuses(REFUSALS["en"]), none.doubts(DOUBTS["en"])) == (False, False)


def test_the_setting_names_the_languages_that_there_are() -> None:
    assert typing.get_args(PhraseLanguage) == tuple(LANGUAGES) == ControlOptions("d", "u").phrase_languages
    with pytest.raises(ValueError, match=r"are en, de, .*, not xx"):
        Phrases(["en", "xx"])


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert every_language().refuses(text) in (True, False)
    assert every_language().doubts(text) in (True, False)
