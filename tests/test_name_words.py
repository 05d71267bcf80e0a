"""The word lists."""

from tutelage.distill.name_words import ALSO_WORDS, NO_NAMES


def test_lists_are_lower_case_words() -> None:
    assert all(word.isalpha() and word == word.lower() for word in ALSO_WORDS | NO_NAMES)
    assert "mark" in ALSO_WORDS
    assert "street" in NO_NAMES
