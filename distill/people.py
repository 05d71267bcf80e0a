"""People's names without a language model: lists of names, words that introduce one, and the fields they stand in.

A capitalised word is a name where something says so: a known first name before it (`Emma Kim`), an introduction (`my
name is`, `Dear`, `Mr.`), both, or a field (`first_name`). First names that are words, months or places too (`Mark`,
`April`, `Paris`) need a known surname behind them or an introduction. This is what works offline; a spaCy model finds
more, and is used beside it where one is installed.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ..traffic.errors import MissingExtra
from .findings import Finding, Recogniser
from .name_words import ALSO_WORDS, NO_NAMES

LOCALES = (
    *("en_US", "en_GB", "en_IE", "en_IN", "en_NZ", "de_DE", "de_AT", "de_CH", "fr_FR", "es_ES", "it_IT"),
    *("nl_NL", "pt_BR", "pl_PL", "sv_SE", "da_DK", "zh_TW", "ja_JP"),
)
"""Locales of faker whose lists are read; only names in Latin letters count."""
_SURE = {
    "en": r"[Mm]y (?:full )?name is|[Nn]ame's|[Tt]he user's name is|Mr\.?|Mrs\.?|Ms\.?|Dr\.?",
    "de": r"[Mm]ein Name ist|[Ii]ch hei(?:ß|ss)e|Herrn?|Frau",
    "fr": r"[Jj]e m'appelle|[Mm]on nom est|Mme|Monsieur|Madame",
    "es": r"[Mm]e llamo|[Mm]i nombre es|Sra?\.|Señora?|Don|Doña",
    "it": r"[Mm]i chiamo|[Ii]l mio nome è|Signora?|Sig\.",
    "nl": r"[Mm]ijn naam is|[Ii]k heet|[Mm]eneer|[Mm]evrouw",
    "pt": r"[Mm]eu nome é|[Cc]hamo-me|Senhora?",
    "pl": r"[Nn]azywam się|[Mm]am na imię",
    "sv": r"[Mm]itt namn är|[Jj]ag heter",
}
"""Words after which a capitalised word is a name, by language."""
_LIKELY = {
    "en": r"I'm|I am|I’m|[Tt]his is|Dear|Hi|Hello|Hey|Thanks,|Thank you,|Regards,|Best,|Sincerely,|Cheers,",
    "de": r"[Ii]ch bin|Liebe[rs]?|Hallo|Grüße,|Gruß,",
    "fr": r"[Jj]e suis|Cher|Chère|Bonjour|Cordialement,",
    "es": r"[Ss]oy|Querid[oa]|Hola|Saludos,",
    "it": r"[Ss]ono|Car[oa]|Ciao|Saluti,",
    "nl": r"[Ii]k ben|Beste|Hallo|Groeten,",
    "pt": r"[Ss]ou|Car[oa]|Olá|Abraços,",
    "pl": r"[Jj]estem|Drog[ia]|Cześć",
    "sv": r"[Jj]ag är|Hej|Hälsningar,",
}
"""Words after which a known first name alone is one."""
_WORD = r"[A-ZÀ-ÖØ-ÞŁŚŻŠČŽ][^\W\d_]*(?:['’-][^\W\d_]+)*"
_LINK = r"(?:van der|van den|van|von|de la|de|da|dos|del|di|der|al|bin|[A-Z]\.)"
_NAME = rf"{_WORD}(?:[ \u00a0](?:{_LINK}[ \u00a0])?{_WORD}){{0,3}}"
_RUNS = re.compile(rf"(?<![\w@#/.-]){_WORD}(?:[ \u00a0](?:{_LINK}[ \u00a0])?{_WORD}){{1,3}}(?![\w@])")
_PLACES_AFTER = re.compile(
    r"[ ](?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Hotel|Airport|Station|Museum|Park)\b"
)


class NameLists(NamedTuple):
    """Known names, lower case."""

    first: frozenset[str]
    last: frozenset[str]


@lru_cache(maxsize=1)
def name_lists() -> NameLists:
    """The lists of LOCALES. Raises MissingExtra without faker."""
    try:
        from importlib import import_module

        providers = [import_module(f"faker.providers.person.{locale}").Provider for locale in LOCALES]
    except ImportError as error:
        raise MissingExtra("distill", "faker") from error
    return NameLists(
        frozenset(name for provider in providers for name in _listed(provider, "first_names")),
        frozenset(name for provider in providers for name in _listed(provider, "last_names")),
    )


def _listed(provider: Any, prefix: str) -> Iterable[str]:
    for attribute in dir(provider):
        names = getattr(provider, attribute) if attribute.startswith(prefix) else ()
        for name in names if isinstance(names, (Mapping, Sequence)) else ():
            if isinstance(name, str) and re.fullmatch(r"[^\W\d_]{2,}(?:['’-][^\W\d_]+)*", name) and name[0] < "\u0250":
                yield name.lower()


def is_first_name(word: str) -> bool:
    """Whether a word is a listed first name that means nothing else."""
    return word.lower() in name_lists().first and word.lower() not in ALSO_WORDS and word.lower() not in NO_NAMES


def by_rules(languages: Sequence[str] = ("en",)) -> Recogniser:
    """The recogniser for people's names in running text; languages without words of their own use the lists alone."""
    sure = "|".join(_SURE[language] for language in languages if language in _SURE) or r"(?!)"
    likely = "|".join(_LIKELY[language] for language in languages if language in _LIKELY) or r"(?!)"
    # Two passes, for "Dear Mr. Lind" has one of each.
    sure_form, likely_form = (
        re.compile(rf"(?<!\w)(?:{words})[ \n\u00a0]{{1,3}}(?P<name>{_NAME})(?!\w)") for words in (sure, likely)
    )

    def recognise(text: str) -> Iterable[Finding]:
        for match in _RUNS.finditer(text):
            yield from _in_run(match)
        for match in sure_form.finditer(text):
            yield from _after_introduction(match, sure=True)
        for match in likely_form.finditer(text):
            yield from _after_introduction(match, sure=False)

    return recognise


def _in_run(match: re.Match[str]) -> Iterable[Finding]:
    """The name in a run of capitalised words: it begins with a first name and goes on to the last word that fits."""
    words = [(item.group(), match.start() + item.start()) for item in re.finditer(r"\S+", match.group())]
    lists = name_lists()
    for at, (word, start) in enumerate(words[:-1]):
        first = word.lower()
        if first not in lists.first or first in NO_NAMES:
            continue
        end = _end_of(words[at + 1 :], lists, cautious=first in ALSO_WORDS)
        if end and not _PLACES_AFTER.match(match.string, end):
            yield Finding("PERSON", start, end, 0.75)
            return


def _end_of(words: Sequence[tuple[str, int]], lists: NameLists, cautious: bool) -> int:
    end = 0
    for word, start in words:
        low = word.lower()
        if low in NO_NAMES or (cautious and (low not in lists.last or low in ALSO_WORDS)):
            break
        if word[0].isupper() and not re.fullmatch(r"[A-Z]\.", word):
            end = start + len(word)
            if low in lists.last:
                break
    return end


def _after_introduction(match: re.Match[str], sure: bool) -> Iterable[Finding]:
    words = match["name"].split()
    kept = 0
    for word in words:
        if word.lower() in NO_NAMES or (word.isupper() and len(word) > 1):
            break
        kept += 1
    if kept and (sure or is_first_name(words[0])):
        taken = re.match(r"\S+" + r"\s+\S+" * (kept - 1), match["name"])
        yield Finding("PERSON", match.start("name"), match.start("name") + (taken.end() if taken else 0), 0.8)


def looks_like_a_name(text: str) -> bool:
    """Whether a whole value is one to four words, each capitalised, with a listed name among them."""
    words = text.split()
    if not 1 <= len(words) <= 4 or not re.fullmatch(_NAME, text.strip()):
        return False
    lows = [word.lower() for word in words]
    if any(low in NO_NAMES for low in lows):
        return False
    return is_first_name(words[0]) or (
        len(words) > 1 and lows[0] in name_lists().first and lows[-1] in name_lists().last
    )


def by_model(
    languages: Sequence[str] = ("en",),
    models: Sequence[str] = (),
    load: Callable[[str], Any] | None = None,
    installed: Sequence[str] | None = None,
) -> Recogniser | None:
    """People's names by spaCy models: those named, or the largest installed one of each language; None without any.

    Raises MissingExtra for a model that is named and not installed."""
    import spacy

    there = list(installed if installed is not None else spacy.util.get_installed_models())
    for name in models:
        if name not in there:
            raise MissingExtra("distill", name)
    chosen = list(models) or [best for language in languages if (best := _largest(language, there))]
    pipelines = [(load or spacy.load)(name) for name in chosen]

    def recognise(text: str) -> Iterable[Finding]:
        for pipeline in pipelines:
            for entity in pipeline(text).ents:
                if entity.label_ in ("PERSON", "PER", "persName"):
                    yield Finding("PERSON", entity.start_char, entity.end_char, 0.85)

    return recognise if pipelines else None


def _largest(language: str, installed: Sequence[str]) -> str:
    order = {size: place for place, size in enumerate(("trf", "lg", "md", "sm"))}
    own = [name for name in installed if re.fullmatch(rf"{language}_core_\w+_(?:trf|lg|md|sm)", name)]
    return min(own, key=lambda name: order[name.rpartition("_")[2]], default="")
