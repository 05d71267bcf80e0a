"""One call record taken apart: messages by name, tools, parameters, the answer, what went wrong.

Long requests repeat almost all of the previous request, so the work per message is done once: what a request shares
with an earlier one of its session is found by comparing bytes (`prefixes`), and messages that were seen before in
other surroundings by a digest over their raw bytes (`messages`).

Chat completions are split without decoding. Requests in other protocols are decoded whole and put into chat messages;
they have trajectories, but no pattern. Nothing in a record can make this fail: what cannot be read is kept as raw
bytes with an error.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import force_setattr

from .answers import Answer, answer_of_record, clean, dump
from .bodies import fields_of, items_of, joined, plain
from .cache import Generations
from .canonical import loads
from .dialect import Dialect
from .dialects import CHAT, dialect_of
from .errors import BadInput
from .facts import Facts, facts_of
from .messages import Message, Messages, Named, Said, StoredMessage, Toolset
from .prefixes import Prefixes, body_of
from .records import CallRecord

_PATTERN_ROLES = frozenset({"system", "developer"})
_PATTERN_FIELDS = ("tool_choice", "response_format", "functions", "model")
_UNREADABLE = (BadInput, ValueError, TypeError, AttributeError, KeyError, RecursionError)


class Given(NamedTuple):
    """An answer that a later request can name as the one that it follows."""

    named: Named
    depth: int


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


class Parsed(msgspec.Struct, gc=False):
    """One call, taken apart."""

    record: CallRecord
    request: Request
    answer: Answer
    given: Named | None = None
    """The answer by name; None without one."""

    @property
    def tail(self) -> str | None:
        """Name of the last message of the request."""
        return self.request.chain[-1].message_id if self.request.chain else None

    @property
    def answer_id(self) -> str | None:
        """Name of the answer."""
        return self.given.message_id if self.given else None

    @property
    def error(self) -> str:
        """First reason why something is wrong with this call, the data plane's own first."""
        return self.record.error or self.request.error or self.answer.error


class _Run(msgspec.Struct, gc=False, eq=False):
    """A request that later ones of its run may begin with."""

    request: Request
    facts: dict[str, Facts | None]
    """By role of the last message; the run's requests share it."""
    said: Said | None = None
    """What it was answered."""


class Parser:
    """Takes records apart; remembers messages and tool sets that it has named. Not thread-safe."""

    def __init__(
        self, recall: Callable[[str, str], Given | None] = lambda caller, name: None, capacity: int = 50_000
    ) -> None:
        """`recall` finds an answer that is only in the store, by caller and the provider's name of it."""
        self._recall = recall
        self._messages = Messages(capacity)
        self._prefixes: Prefixes[_Run] = Prefixes()
        self._given: Generations[tuple[str, str], Given] = Generations(50_000)
        self._not_given: Generations[tuple[str, str], bool] = Generations(50_000)
        """Names that the store does not know either; an answer that comes later is found in `_given`."""
        self._known_facts: Generations[tuple[str | bytes, ...], Facts] = Generations(500)

    def drain(self) -> tuple[list[StoredMessage], list[Toolset]]:
        """Messages and tool sets that may be missing in the store; each is handed out once."""
        return self._messages.drain()

    def parse(self, record: CallRecord) -> Parsed:
        """Take one record apart. Never raises on account of what is in it.

        An `Incoming` record holds bytes afterwards instead of its view, or nothing where the result says it all.
        """
        dialect = dialect_of(record.method, record.endpoint)
        run = self._going_on(record) if dialect is CHAT and record.session else None
        if not isinstance(record.request, bytes):
            force_setattr(record, "request", b"" if run else bytes(record.request))
        record, coded = plain(record)
        if dialect is None:
            return Parsed(record, Request(error="not_chat"), Answer(keep_raw=True))
        if run is not None:
            request = run.request
        elif coded.request:
            request = Request(error=coded.request)
        elif dialect is CHAT:
            run = self._safely(self._split, record)
            request = run.request
        else:
            request = self._safely(self._other, record, dialect).request
        answer = answer_of_record(record, dialect.read, dialect.assemble)
        if coded.response:
            answer = Answer(error=coded.response, keep_raw=True)
        parsed = Parsed(record, request, answer)
        if request.chain and answer.whole:
            self._name_answer(parsed, run)
        return parsed

    def _going_on(self, record: CallRecord) -> _Run | None:
        """A chat request by way of an earlier one of its session, when it begins with that."""
        key, body = (record.caller, record.session), body_of(record.request)
        found = self._prefixes.find(key, body)
        if found is None:
            return None
        known, raws = found
        try:
            run = _extended(known.content, self._messages, raws)
        except _UNREADABLE:
            return None  # the long way says why
        self._prefixes.extend(key, known, body, run)
        return run

    def _safely(self, read: Callable[..., _Run], *arguments: Any) -> _Run:
        try:
            return read(*arguments)
        except BadInput:
            return _Run(Request(error="bad_json"), {})
        except _UNREADABLE as error:
            return _Run(Request(error=f"unreadable_request: {type(error).__name__}"), {})

    def _split(self, record: CallRecord) -> _Run:
        fields = fields_of(record.request)
        raws = items_of(fields.pop("messages", None))
        if not raws:
            return _Run(Request(error="no_messages"), {})
        toolset = self._toolset(fields)
        chain = self._messages.chain(raws)
        opening = next((at for at, named in enumerate(chain) if named.role not in _PATTERN_ROLES), None)
        facts = self._facts(fields, toolset, raws, chain, opening)
        run = _Run(Request(chain, joined(fields), toolset, facts, _model(fields)), {chain[-1].role: facts})
        if record.session and opening is not None:
            self._prefixes.remember((record.caller, record.session), body_of(record.request), raws[-1], run)
        return run

    def _facts(
        self,
        fields: dict[str, msgspec.Raw],
        toolset: Toolset | None,
        raws: list[msgspec.Raw],
        chain: list[Named],
        opening: int | None,
    ) -> Facts | None:
        """What pattern discovery needs: worked out once for each prompt, tool set and the like."""
        prompt = chain[:opening]
        key = (
            toolset.toolset_id if toolset else "",
            prompt[-1].message_id if prompt else "",
            *(bytes(fields[name]) if name in fields else b"" for name in _PATTERN_FIELDS),
        )
        role = chain[-1].role
        known = self._known_facts.get(key) if opening is not None and _plain_role(role) else None
        if known is not None and opening is not None:
            return known.with_opening(loads(bytes(raws[opening])), role)
        outline: Message = {name: loads(bytes(fields[name])) for name in _PATTERN_FIELDS if name in fields}
        wanted = [at for at in range(len(chain)) if at <= (opening or 0) or at == len(chain) - 1]
        outline["messages"] = [loads(bytes(raws[at])) for at in wanted]
        if toolset:
            outline["tools"] = toolset.tools
        try:
            facts = facts_of(outline)
        except _UNREADABLE:
            return None  # Odd content must not stop the log; without facts the call has no pattern.
        if facts is not None and opening is not None:
            self._known_facts[key] = facts
        return facts

    def _other(self, record: CallRecord, dialect: Dialect) -> _Run:
        """A request in another protocol, put into chat messages."""
        fields = fields_of(record.request)
        if dialect.conversation is None:
            return _Run(Request(model=_model(fields)), {})
        toolset = self._toolset(fields)
        said = dialect.conversation({name: loads(bytes(raw)) for name, raw in fields.items()})
        given = self._earlier(record.caller, said.earlier) if said.earlier else None
        for name in said.fields if given else (*said.fields, *said.opening_fields):
            fields.pop(name, None)
        if given is None:
            chain = self._messages.chain_of([*said.opening, *said.messages])
        else:
            new = self._messages.chain_of(said.messages, given.named.message_id, given.depth + 1)
            chain = [given.named, *new]
        error = "" if chain else "no_messages"
        depth = given.depth if given else 0
        return _Run(Request(chain, joined(fields), toolset, None, _model(fields), error, depth), {})

    def _earlier(self, caller: str, name: str) -> Given | None:
        key = caller, name
        found = self._given.get(key)
        if found is None and key not in self._not_given:
            found = self._recall(caller, name)
            if found is None:
                self._not_given[key] = True
            else:
                self._given[key] = found
        return found

    def _name_answer(self, parsed: Parsed, run: _Run | None) -> None:
        request, answer = parsed.request, parsed.answer
        parent, depth = request.chain[-1].message_id, request.depth + len(request.chain)
        try:
            said = self._messages.say(answer.raw or dump(answer.message).encode(), parent, depth)
        except _UNREADABLE:
            answer.error, answer.keep_raw = "unreadable_answer", True
            return
        parsed.given = said.named
        if run is not None:
            run.said = said
        if answer.upstream_id and request.facts is None:
            # Only answers of protocols that keep conversations on the server are named by later requests.
            self._given[parsed.record.caller, answer.upstream_id] = Given(said.named, depth)

    def _toolset(self, fields: dict[str, msgspec.Raw]) -> Toolset | None:
        """The tools, taken out of `fields`; what is no list of objects stays among the parameters."""
        raw = bytes(fields.get("tools", b""))
        if not raw or raw == b"null":
            return None
        toolset = self._messages.toolset(raw)
        if toolset is not None:
            del fields["tools"]
        return toolset


def _extended(run: _Run, messages: Messages, raws: list[msgspec.Raw]) -> _Run:
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
    return _Run(Request(chain, known.params, known.toolset, facts, known.model), run.facts)


def _plain_role(role: str) -> bool:
    """Whether a role is its own name in `Facts`."""
    return role.isalnum() and len(role) <= 32


def _model(fields: dict[str, msgspec.Raw]) -> str:
    return clean(loads(bytes(fields["model"]))) if "model" in fields else ""
