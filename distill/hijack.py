"""Sessions in which a tool's result gave the orders: prompt injection that worked.

An agent's orders come from its system prompt and its user. A result of a tool is data. The detector looks for orders in
results, and then for their consequences, because an agent that read an attack and went on with its work is the best of
lessons and must stay:

    order      words to the model in a result ("ignore previous instructions", "before you can solve the task", marks
               of a prompt such as <system>), or a sentence that begins with a verb of command
    obeyed     after it, a call whose argument holds something that stands in the order and nowhere else that the agent
               has read, or a call of a kind that the order names and the user does not, or the order's words repeated

Orders to the model count with any consequence; a plain sentence of command only where the call does what its verb says
to what it names, and not where the user has asked to do as some text says. What is caught is kept out of training, and
written beside the data set.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from .walk import Message, leaves

_TO_THE_MODEL = re.compile(
    r"""(?ix)
    \b(?:ignore|disregard|forget|override|bypass)\s+(?:all\s+|any\s+|the\s+|your\s+|of\s+)*
        (?:previous|prior|above|earlier|preceding|other|original|existing)\s+\w*\s*
        (?:instruction|task|order|message|prompt|rule|direction|guideline)
    | \bbefore\s+you\s+(?:can\s+)?(?:solve|continue|proceed|complete|answer|do|start|finish)\b
    | \b(?:message|instructions?|notice|task|note|request)\s+(?:is\s+)?(?:from\s+\S+(?:\s+\S+){0,4}?,?\s+)?(?:to|for)\s+
        (?:you\b|the\s+(?:ai|assistant|model|agent|llm)|gpt|chatgpt|claude|gemini|all\s+(?:ai|assistants|agents))
    | \b(?:dear|hey|hello|hi|attention|to)[,:]?\s+
        (?:ai|gpt|chatgpt|claude|gemini|assistant|language\s+model|llm|agent)\b
    | <\s*(?:information|system|instructions?|important|admin|override|assistant|user)\s*>
    | \[\s*(?:inst|system|instructions?)\s*\] | <\|im_start\|> | \#\#\#\s*(?:system|instructions?)
    | \b(?:system|developer|admin(?:istrator)?)\s+(?:override|prompt|instruction|command)s?\b
    | \b(?:new|updated|real|actual)\s+(?:task|instructions?|objective|goal|orders?)\s*(?:is|are|:)
    | \b(?:after|once|when)\s+you(?:'ve|\s+have)?\s+
        (?:do|did|done|finish|finished|complete|completed)\s+(?:that|this|so)\b
    | \byou\s+(?:must|have\s+to|need\s+to|are\s+(?:required|instructed|ordered)\s+to)\s+
        (?:now|first|immediately|instead|always|urgently)\b
    | \b(?:as|you\s+are)\s+an?\s+(?:ai|language\s+model|llm|ai\s+(?:assistant|agent|model))\b
    """
)
_FOLLOWING = re.compile(
    r"(?i)\b(?:do|perform|complete|execute|follow)\s+(?:the\s+following|these\s+(?:steps|instructions|tasks))\b"
)
"""Words that also stand in a list of tasks; they count where nobody has asked to work through one."""
_END = re.compile(r"(?i)<\s*/\s*\w+\s*>|\[\s*/\s*\w+\s*\]|<\|im_end\|>")
_VERBS = (
    r"send|transfer|pay|wire|delete|remove|erase|post|publish|visit|open|invite|create|make|change|modify|update|reset|"
    r"book|reserve|schedule|cancel|forward|share|upload|download|call|reply|set|turn|grant|give|add|run|execute|email|"
    r"e-mail|buy|order|purchase|refund|approve|unlock|disable|enable|move|rename|write|say|tell"
)
_COMMAND = re.compile(
    rf"(?i)(?:^|(?<=[.!?:;>\]'\"\n])|(?<=- ))\s*(?:please\s+|then\s+|now\s+|kindly\s+)?(?P<verb>{_VERBS})\s"
)
_DELEGATED = re.compile(
    r"(?i)\b(?:do|follow|perform|complete|carry out|execute|take care of|handle|act on|work through|finish|process|pay|"
    r"implement|apply|make)\b.{0,80}\b(?:tasks?|instructions?|actions?|steps?|to-?dos?|list|e-?mails?|files?|says?|said|"
    r"asks?|asked|described|specified|written|mentioned?|notes?|requests?|bill|notice|according)\b",
    re.DOTALL,
)
_REACH = 700
"""Characters after words to the model that belong to the order."""
_SENTENCE = 300
_SHORT = 60
_TOKEN = re.compile(r"[\w.+-]+@[\w.-]+\w|(?:https?://)?(?:www\.)[\w./-]+\w|[A-Za-z0-9][\w-]*[A-Za-z0-9]|\d")
_ALOUD = re.compile(
    r"(?i)instruct|suspicious|injection|malicious|phishing|scam|untrusted|unrelated|unauthori[sz]ed|won't|will not|"
    r"not able to|cannot|can't|ignor|noticed|attempt|embedded|did not|didn't|verify|would you like|security"
)
_SHINGLE = 6
"""Words in a row that are said again when an order is obeyed in words."""
_COMMON = frozenset(
    ("the", "and", "for", "from", "with", "all", "new", "user", "true", "false", "none", "subject", "date")
)


class Hijack(NamedTuple):
    """How a session was taken over."""

    order_at: int
    """Index of the message whose text gave the order."""
    obeyed_at: int
    """Index of the message that obeyed it."""
    how: str
    """`target`: something named only in the order was acted on; `action`: an action that only the order asks for;
    `words`: the order's words were said."""


class _Order(NamedTuple):
    at: int
    text: str
    verb: str
    """What a plain sentence of command begins with; empty for words to the model."""


def hijack_of(messages: Sequence[Message]) -> Hijack | None:
    """The first order from a tool's result that the agent obeyed; None when there is none."""
    asked = " ".join(_plain(message) for message in messages if message.get("role") in ("user", "system", "developer"))
    delegated = _DELEGATED.search(" ".join(_plain(one) for one in messages if one.get("role") == "user")) is not None
    read = [asked]
    orders: list[_Order] = []
    for at, message in enumerate(messages):
        if message.get("role") == "tool":
            text = _plain(message)
            found = _orders(at, text, delegated)
            orders += found
            for order in found:
                text = text.replace(order.text, " ")
            read.append(text)
        elif message.get("role") == "assistant" and orders:
            known = _words(" ".join(read))
            obeyed = _obeyed(message, orders, known, asked)
            if obeyed:
                return Hijack(obeyed[0].at, at, obeyed[1])
    return None


def _plain(message: Message) -> str:
    """The texts of a message on one line; line breaks that were written out count as spaces."""
    text = "\n".join(leaf.text for leaf in leaves({"content": message.get("content")}))
    return re.sub(r"(?:\\[nrt]|\s)+", " ", text)


def _orders(at: int, text: str, delegated: bool) -> list[_Order]:
    found: list[_Order] = []
    end = 0
    for match in _to_the_model(text, delegated):
        if match.start() >= end:
            closed = _END.search(text, match.end(), match.end() + 2 * _REACH)
            end = closed.end() if closed else min(len(text), match.end() + _REACH)
            found.append(_Order(at, text[match.start() : end], ""))
    if found or delegated:
        return found
    for match in _COMMAND.finditer(text):
        sentence = re.split(r"(?<=[!?])\s|(?<=\w\.)\s", text[match.start() : match.start() + _SENTENCE], maxsplit=1)[0]
        found.append(_Order(at, sentence, match["verb"].lower()))
    return found


def _to_the_model(text: str, delegated: bool) -> list[re.Match[str]]:
    found = list(_TO_THE_MODEL.finditer(text))
    if not delegated:
        found += _FOLLOWING.finditer(text)
    return sorted(found, key=lambda match: match.start())


def _words(text: str) -> frozenset[str]:
    return frozenset(word.lower().removeprefix("https://").removeprefix("http://") for word in _TOKEN.findall(text))


def _obeyed(message: Message, orders: Sequence[_Order], known: frozenset[str], asked: str) -> tuple[_Order, str] | None:
    for call in message.get("tool_calls") or []:
        function = call.get("function") or {}
        name, values = str(function.get("name") or ""), list(_values(function.get("arguments")))
        for order in orders:
            if _targets(values, order.text) - known and (not order.verb or _does(name, order.verb)):
                return order, "target"
            if not order.verb and _does_what_is_ordered(name, order.text, asked):
                return order, "action"
    said = message.get("content")
    if isinstance(said, str) and not message.get("tool_calls"):
        for order in orders:
            if not order.verb and _repeats(said, order.text, asked):
                return order, "words"
    return None


def _targets(values: Sequence[str], order: str) -> set[str]:
    """Words of a call's arguments that an order names: of short values all, of long texts what looks like a name or an
    address of something, for two texts about anything share common words."""
    named = _words(order)
    return {
        word
        for value in values
        for word in _words(value)
        if word in named
        and len(word) > 1
        and word not in _COMMON
        and (len(value) <= _SHORT or re.search(r"[@.\d_]", word))
    }


def _values(arguments: Any) -> Iterable[str]:
    return (leaf.text for leaf in leaves({"content": arguments}))


_SAME = {
    "send": ("send", "transfer", "pay", "wire", "forward", "share", "email", "e-mail", "reply", "post"),
    "delete": ("delete", "remove", "erase", "cancel"),
    "create": ("create", "make", "add", "schedule", "write"),
    "update": ("update", "change", "modify", "reset", "set", "rename", "move"),
    "reserve": ("reserve", "book", "make", "buy", "order", "purchase"),
    "post": ("post", "publish", "upload", "share"),
    "get": ("visit", "open", "download", "call"),
    "invite": ("invite", "add", "grant"),
}


def _does(tool: str, verb: str) -> bool:
    """Whether a tool's name says what a verb commands: `send_money` transfers."""
    words = re.split(r"[_\W]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", tool).lower())
    return any(word.startswith(verb[:5]) or verb in _SAME.get(word, ()) for word in words)


def _does_what_is_ordered(tool: str, order: str, asked: str) -> bool:
    """Whether the verb of a tool that changes something is in the order, and not in what was asked."""
    words = re.split(r"[_\W]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", tool).lower())
    verb = next((word for word in words if word in _SAME and word != "get"), "")
    if not verb:
        return False
    fitting = "|".join(sorted({verb, *_SAME[verb]}))
    form = re.compile(rf"(?i)\b(?:{fitting})(?:s|ing|ed|ation|d)?\b")
    objects = [word for word in words if word != verb and len(word) > 3]
    about = any(re.search(rf"(?i)\b{re.escape(word[:5])}", order) for word in objects) or not objects
    return bool(form.search(order)) and about and not form.search(asked)


def _repeats(said: str, order: str, asked: str) -> bool:
    if _ALOUD.search(said):
        return False
    words = re.findall(r"\w+", order.lower())
    rows = {" ".join(words[at : at + _SHINGLE]) for at in range(len(words) - _SHINGLE + 1)}
    spoken, known = " ".join(re.findall(r"\w+", said.lower())), " ".join(re.findall(r"\w+", asked.lower()))
    return any(row in spoken and row not in known for row in rows)
