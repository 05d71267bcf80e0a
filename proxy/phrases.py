"""How people and models refuse, and say that they don't know, in ten languages: phrases for the null guards.

A refusal stands at the beginning of an answer, after a word of regret or none; a doubt anywhere in it. Phrases are
compared in small letters, with plain spaces and apostrophes, as whole words where a script has words. They are few and
plain on purpose: one that is missing leaves a slice unwatched, one that is too wide would watch the wrong calls.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple


class Language(NamedTuple):
    """One language's phrases, in small letters."""

    sorry: tuple[str, ...]
    """What may stand before a refusal."""
    but: tuple[str, ...]
    """What may stand between the two."""
    refuses: tuple[str, ...]
    """Beginnings of an answer that refuses."""
    doubts: tuple[str, ...]
    """What an answer says somewhere that doesn't know."""


LANGUAGES = {
    "en": Language(
        sorry=("i'm sorry", "i am sorry", "sorry", "unfortunately"),
        but=("but",),
        refuses=tuple(
            f"i {cannot} {what}"
            for cannot in ("can't", "cannot", "can not", "am unable to", "won't", "will not")
            for what in ("help", "assist", "do that", "comply", "provide")
        ),
        doubts=(
            *("i do not know", "i don't know", "i am not sure", "i'm not sure", "not enough information"),
            *("cannot be determined", "can't be determined", "could not be determined", "cannot determine"),
            *(
                "can't determine",
                "could not determine",
                "no information about",
                "no information on",
                "no information is",
            ),
        ),
    ),
    "de": Language(
        sorry=("es tut mir leid", "tut mir leid", "entschuldigung", "leider"),
        but=("aber", "doch"),
        refuses=(
            *("ich kann dir nicht helfen", "ich kann ihnen nicht helfen", "ich kann dabei nicht helfen"),
            *("ich kann dir dabei nicht helfen", "ich kann ihnen dabei nicht helfen", "kann ich dir nicht helfen"),
            *("kann ich ihnen nicht helfen", "kann ich dir dabei nicht helfen", "kann ich ihnen dabei nicht helfen"),
            *("dabei kann ich nicht helfen", "dabei kann ich dir nicht helfen", "dabei kann ich ihnen nicht helfen"),
            *("das kann ich nicht tun", "ich kann das nicht tun", "kann ich das nicht tun", "das darf ich nicht"),
        ),
        doubts=(
            *("ich weiß es nicht", "ich weiß nicht", "das weiß ich nicht", "ich bin mir nicht sicher"),
            *("ich bin nicht sicher", "lässt sich nicht feststellen", "kann nicht festgestellt werden"),
            *("nicht genug informationen", "nicht genügend informationen", "keine informationen über"),
            *("keine informationen zu", "keine informationen vor"),
        ),
    ),
    "fr": Language(
        sorry=("je suis désolé", "je suis désolée", "désolé", "désolée", "malheureusement"),
        but=("mais",),
        refuses=(
            *(
                "je ne peux pas vous aider",
                "je ne peux pas t'aider",
                "je ne peux pas aider",
                "je ne peux pas faire cela",
            ),
            *("je ne peux pas faire ça", "je ne suis pas en mesure de vous aider", "je ne peux pas répondre à cette"),
        ),
        doubts=(
            *("je ne sais pas", "je ne suis pas sûr", "je ne suis pas sûre", "je ne suis pas certain"),
            *("impossible à déterminer", "ne peut pas être déterminé", "pas assez d'informations"),
            *("informations insuffisantes", "aucune information sur"),
        ),
    ),
    "es": Language(
        sorry=("lo siento", "lo lamento", "lamentablemente", "perdón"),
        but=("pero",),
        refuses=(
            *("no puedo ayudarte", "no puedo ayudarle", "no te puedo ayudar", "no le puedo ayudar", "no puedo ayudar"),
            *("no puedo hacer eso", "no puedo hacerlo", "no me es posible ayudar"),
        ),
        doubts=(
            *("no lo sé", "no sé", "no estoy seguro", "no estoy segura", "no se puede determinar"),
            *("no hay suficiente información", "no hay información sobre", "información insuficiente"),
        ),
    ),
    "it": Language(
        sorry=("mi dispiace", "spiacente", "purtroppo"),
        but=("ma", "però"),
        refuses=(
            *("non posso aiutarti", "non posso aiutarla", "non posso aiutare", "non posso farlo"),
            *("non sono in grado di aiutare", "non sono in grado di aiutarti", "non sono in grado di aiutarla"),
        ),
        doubts=(
            *("non lo so", "non so", "non sono sicuro", "non sono sicura", "non è possibile determinare"),
            *("non ci sono informazioni", "informazioni insufficienti", "nessuna informazione su"),
        ),
    ),
    "pt": Language(
        sorry=("desculpe", "desculpa", "sinto muito", "lamento", "infelizmente"),
        but=("mas",),
        refuses=(
            *("não posso ajudar", "não posso ajudá-lo", "não posso ajudá-la", "não posso te ajudar"),
            *("não consigo ajudar", "não posso fazer isso", "eu não posso ajudar", "eu não posso fazer isso"),
        ),
        doubts=(
            *("não sei", "eu não sei", "não tenho certeza", "não tenho a certeza", "não é possível determinar"),
            *("não há informação sobre", "não há informações sobre", "informação insuficiente"),
        ),
    ),
    "nl": Language(
        sorry=("het spijt me", "sorry", "helaas"),
        but=("maar",),
        refuses=(
            *("ik kan je niet helpen", "ik kan u niet helpen", "ik kan je daar niet bij helpen", "ik kan niet helpen"),
            *("ik kan u daar niet bij helpen", "daar kan ik je niet bij helpen", "daar kan ik u niet bij helpen"),
            *(
                "kan ik je niet helpen",
                "kan ik u niet helpen",
                "kan ik je daar niet bij helpen",
                "dat kan ik niet doen",
            ),
        ),
        doubts=(
            *("ik weet het niet", "dat weet ik niet", "ik weet niet", "ik ben niet zeker", "kan niet worden bepaald"),
            *("niet genoeg informatie", "onvoldoende informatie", "geen informatie over"),
        ),
    ),
    "pl": Language(
        sorry=("przykro mi", "przepraszam", "niestety"),
        but=("ale",),
        refuses=(
            *("nie mogę pomóc", "nie mogę ci pomóc", "nie mogę w tym pomóc", "nie mogę tego zrobić"),
            *("nie jestem w stanie pomóc", "nie jestem w stanie tego zrobić"),
        ),
        doubts=(
            *("nie wiem", "nie jestem pewien", "nie jestem pewna", "nie można ustalić", "nie da się ustalić"),
            *("za mało informacji", "niewystarczające informacje", "brak informacji o", "brak informacji na temat"),
        ),
    ),
    "ja": Language(
        sorry=("申し訳ありません", "申し訳ございません", "すみません", "ごめんなさい", "残念ながら"),
        but=("が", "けれども"),
        refuses=(
            *("お手伝いできません", "お手伝いすることはできません", "その依頼には応じられません", "それはできません"),
            *("そのご要望にはお応えできません", "お答えできません", "ご要望にお応えできません"),
        ),
        doubts=(
            "わかりません",
            "分かりません",
            "不明です",
            "判断できません",
            "確かではありません",
            "情報が不足",
            "情報がありません",
        ),
    ),
    "zh": Language(
        sorry=("很抱歉", "抱歉", "对不起", "對不起", "不好意思"),
        but=("但是", "但"),
        refuses=(
            *("我无法帮助", "我不能帮助", "我无法提供", "我不能提供", "我无法协助", "我无法完成", "我不能这样做"),
            *("我無法幫助", "我不能幫助", "我無法提供", "我無法協助", "我無法完成"),
        ),
        doubts=(
            "我不知道",
            "我不确定",
            "我不確定",
            "无法确定",
            "無法確定",
            "信息不足",
            "資訊不足",
            "没有相关信息",
            "沒有相關資訊",
        ),
    ),
}
"""By ISO 639-1 code. Chinese in both scripts."""
_WORDLESS = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")


class Phrases:
    """The phrases of some languages, and some of the user's own, ready to be looked for."""

    def __init__(
        self, languages: Iterable[str] = tuple(LANGUAGES), refuses: Sequence[str] = (), doubts: Sequence[str] = ()
    ) -> None:
        """Raises ValueError for a language that is not in `LANGUAGES`."""
        chosen = list(languages)
        if unknown := [name for name in chosen if name not in LANGUAGES]:
            raise ValueError(f"languages of phrases are {', '.join(LANGUAGES)}, not {', '.join(unknown)}")
        known = [LANGUAGES[name] for name in chosen]
        own = Language((), (), tuple(map(plain, refuses)), tuple(map(plain, doubts)))
        openings = [_opening(one) for one in (*known, own) if one.refuses]
        self._refuses = re.compile(rf"^\W*(?:{'|'.join(openings)})") if openings else None
        self._said = [phrase for one in (*known, own) for phrase in one.doubts]
        self._doubts = re.compile(_either(self._said)) if self._said else None

    def refuses(self, text: str) -> bool:
        """Whether an answer begins with a refusal."""
        return self._refuses is not None and bool(self._refuses.search(plain(text)))

    def doubts(self, text: str) -> bool:
        """Whether an answer says somewhere that it doesn't know."""
        plainly = plain(text)
        # Most texts hold none of them; looking for each is a hundred times as fast as the pattern.
        return any(phrase in plainly for phrase in self._said) and bool(self._doubts and self._doubts.search(plainly))


def plain(text: str) -> str:
    """Small letters, single spaces, straight apostrophes."""
    return " ".join(text.lower().replace("’", "'").split())


@cache
def every_language() -> Phrases:
    """The phrases of all languages that are known."""
    return Phrases()


def _opening(language: Language) -> str:
    but = rf"(?:{_either(language.but)}\W*)?" if language.but else ""
    sorry = rf"(?:{_either(language.sorry)}\W*{but})?" if language.sorry else ""
    return sorry + _either(language.refuses)


def _either(phrases: Iterable[str]) -> str:
    """A pattern for any of the phrases, the longest first; as whole words in scripts that have them."""
    ordered = sorted(phrases, key=len, reverse=True)
    found = [re.escape(one) if _WORDLESS.search(one) else rf"(?<!\w){re.escape(one)}(?!\w)" for one in ordered]
    return f"(?:{'|'.join(found)})"
