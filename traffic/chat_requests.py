"""Chat requests taken apart, without reading again what an earlier request has said already.

Three ways, the cheapest first. A request that begins with an earlier one of its session says what that says, and a few
messages more (`prefixes`). One that opens a conversation differs from an earlier one of its caller in nothing but its
messages (`frames`). Only what is left is split into its members; that alone can say why something cannot be read.

All ways give the same, whatever came before.
"""

import msgspec

from .answers import clean
from .bodies import fields_of, items_of, joined
from .cache import Generations
from .canonical import loads
from .errors import BadInput
from .facts import Facts, facts_of
from .frames import Frames
from .messages import Message, Messages, Named, Said, Toolset
from .prefixes import Body, Prefixes, body_of, place_of
from .records import CallRecord

UNREADABLE = (BadInput, ValueError, TypeError, AttributeError, KeyError, RecursionError)
"""What odd content may lead to."""
_PATTERN_ROLES = frozenset({"system", "developer"})
_PATTERN_FIELDS = ("tool_choice", "response_format", "functions", "model")


class Request(msgspec.Struct, frozen=True, gc=False):
    """What a request body says."""

    chain: list[Named] = []
    params: str = "{}"
    """The body without messages and tools, as JSON."""
    toolset: Toolset | None = None
    facts: Facts | None = None
    """What pattern discovery needs; None for what has no pattern."""
    model: str = ""
    """The model that was asked for."""
    error: str = ""
    """Why it is no conversation; empty when it is one, or need not be."""
    depth: int = 0
    """Messages of the conversation before the chain; the last of them opens the chain when it continues an answer."""


class Run(msgspec.Struct, gc=False, eq=False):
    """A request that later ones of its run may begin with."""

    request: Request
    facts: dict[str, Facts | None]
    """By role of the last message; the run's requests share it."""
    said: Said | None = None
    """What it was answered."""


class _Outline(msgspec.Struct, gc=False, eq=False):
    """What a chat request says beside its messages."""

    params: str
    toolset: Toolset | None
    model: str
    fields: Message
    """Those that decide on the pattern, decoded."""
    key: tuple[str | bytes, ...]
    """The same for the same `fields` and tools."""


class ChatRequests:
    """Reads chat requests; remembers those that others may begin with or look like. Not thread-safe."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._prefixes: Prefixes[Run] = Prefixes()
        self._frames: Frames[_Outline] = Frames()
        self._known_facts: Generations[tuple[str | bytes, ...], Facts] = Generations(500)

    def known(self, record: CallRecord) -> Run | None:
        """A chat request of which nothing but messages has to be read; None when the long way has to be gone."""
        body = body_of(record.request)
        try:
            run = self._going_on(record, body) if record.session else None
            return run or self._opening(record, body)
        except UNREADABLE:
            return None  # the long way says why

    def _going_on(self, record: CallRecord, body: Body) -> Run | None:
        """A request by way of an earlier one of its session, when it begins with that."""
        key = record.caller, record.session
        found = self._prefixes.find(key, body)
        if found is None:
            return None
        known, raws = found
        run = _extended(known.content, self._messages, raws)
        self._prefixes.extend(key, known, body, run)
        return run

    def _opening(self, record: CallRecord, body: Body) -> Run | None:
        """A request that differs from an earlier one of its caller in nothing but its messages."""
        found = self._frames.find(record.caller, body)
        if found is None:
            return None
        frame, raws = found
        return self._opened(record, frame.content, raws, body, body.stop - len(frame.tail))

    def split(self, record: CallRecord) -> Run:
        """Any chat request, whose body is plain bytes. Raises one of UNREADABLE."""
        fields = fields_of(record.request)
        messages = fields.pop("messages", None)
        raws = items_of(messages)
        if not raws or messages is None:
            return Run(Request(error="no_messages"), {})
        outline = self._outline(fields)
        body = body_of(record.request)
        place = place_of(body, messages)
        if place is None:
            return self._opened(record, outline, raws)
        run = self._opened(record, outline, raws, body, place.stop - 1)
        self._frames.remember(record.caller, body, place, outline)
        return run

    def _outline(self, fields: dict[str, msgspec.Raw]) -> _Outline:
        toolset = toolset_of(self._messages, fields)
        deciding: Message = {name: loads(bytes(fields[name])) for name in _PATTERN_FIELDS if name in fields}
        spelled = (bytes(fields.get(name, b"")) for name in _PATTERN_FIELDS)
        key = (toolset.toolset_id if toolset else "", *spelled)
        if toolset:
            deciding["tools"] = toolset.tools
        return _Outline(joined(fields), toolset, model_of(fields), deciding, key)

    def _opened(
        self, record: CallRecord, outline: _Outline, raws: list[msgspec.Raw], body: Body | None = None, end: int = 0
    ) -> Run:
        """A request by its messages; `end` is the place in `body` where they end, if that is known."""
        chain = self._messages.chain(raws)
        opening = next((at for at, named in enumerate(chain) if named.role not in _PATTERN_ROLES), None)
        facts = self._facts(outline, raws, chain, opening)
        request = Request(chain, outline.params, outline.toolset, facts, outline.model)
        run = Run(request, {chain[-1].role: facts})
        if record.session and opening is not None and body is not None:
            self._prefixes.remember((record.caller, record.session), body, end, run)
        return run

    def _facts(
        self, outline: _Outline, raws: list[msgspec.Raw], chain: list[Named], opening: int | None
    ) -> Facts | None:
        """What pattern discovery needs: worked out once for each prompt, tool set and the like."""
        prompt = chain[:opening]
        key = (prompt[-1].message_id if prompt else "", *outline.key)
        role = chain[-1].role
        known = self._known_facts.get(key) if opening is not None and _plain_role(role) else None
        if known is not None and opening is not None:
            return known.with_opening(loads(bytes(raws[opening])), role)
        wanted = [at for at in range(len(chain)) if at <= (opening or 0) or at == len(chain) - 1]
        try:
            facts = facts_of(outline.fields | {"messages": [loads(bytes(raws[at])) for at in wanted]})
        except UNREADABLE:
            return None  # Odd content must not stop the log; without facts the call has no pattern.
        if facts is not None and opening is not None:
            self._known_facts[key] = facts
        return facts


def _extended(run: Run, messages: Messages, raws: list[msgspec.Raw]) -> Run:
    """A request that says what that of `run` says, and these messages after it.

    Raises what makes it necessary to read the request in full.
    """
    known = run.request
    chain, facts = known.chain, known.facts
    if raws:
        chain = chain + messages.sequel(raws, chain[-1], len(chain), run.said)
        role = chain[-1].role
        if role not in run.facts:
            if not _plain_role(role) or len(run.facts) > 8:
                raise ValueError("an odd role")
            run.facts[role] = facts.with_role(role) if facts else None
        facts = run.facts[role]
    return Run(Request(chain, known.params, known.toolset, facts, known.model), run.facts)


def _plain_role(role: str) -> bool:
    """Whether a role is its own name in `Facts`."""
    return role.isalnum() and len(role) <= 32


def model_of(fields: dict[str, msgspec.Raw]) -> str:
    """The model that a request asks for; empty when it names none. Raises BadInput."""
    return clean(loads(bytes(fields["model"]))) if "model" in fields else ""


def toolset_of(messages: Messages, fields: dict[str, msgspec.Raw]) -> Toolset | None:
    """The tools, taken out of `fields`; what is no list of objects stays among the parameters."""
    raw = bytes(fields.get("tools", b""))
    if not raw or raw == b"null":
        return None
    toolset = messages.toolset(raw)
    if toolset is not None:
        del fields["tools"]
    return toolset
