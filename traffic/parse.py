"""One call record taken apart: messages by name, tools, parameters, the answer, what went wrong.

Long requests repeat almost all of the previous request, so the work per message is done once: see `chat_requests` for
chat completions. Requests in other protocols are decoded whole and put into chat messages; they have trajectories, but
no pattern. Nothing in a record can make this fail: what cannot be read is kept as raw bytes with an error.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import force_setattr

from .answers import Answer, answer_of_record, dump
from .bodies import fields_of, joined, plain
from .cache import Generations
from .canonical import loads
from .chat_requests import UNREADABLE, ChatRequests, Request, Run, model_of, toolset_of
from .dialect import Dialect
from .dialects import CHAT, dialect_of
from .errors import BadInput
from .messages import Messages, Named, StoredMessage, Toolset
from .records import CallRecord


class Given(NamedTuple):
    """An answer that a later request can name as the one that it follows."""

    named: Named
    depth: int


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


class Parser:
    """Takes records apart; remembers messages and tool sets that it has named. Not thread-safe."""

    def __init__(
        self, recall: Callable[[str, str], Given | None] = lambda caller, name: None, capacity: int = 50_000
    ) -> None:
        """`recall` finds an answer that is only in the store, by caller and the provider's name of it."""
        self._recall = recall
        self._messages = Messages(capacity)
        self._requests = ChatRequests(self._messages)
        self._given: Generations[tuple[str, str], Given] = Generations(50_000)
        self._not_given: Generations[tuple[str, str], bool] = Generations(50_000)
        """Names that the store does not know either; an answer that comes later is found in `_given`."""

    def drain(self) -> tuple[list[StoredMessage], list[Toolset]]:
        """Messages and tool sets that may be missing in the store; each is handed out once."""
        return self._messages.drain()

    def parse(self, record: CallRecord) -> Parsed:
        """Take one record apart. Never raises on account of what is in it.

        An `Incoming` record holds bytes afterwards instead of its view, or nothing where the result says it all.
        """
        dialect = dialect_of(record.method, record.endpoint)
        run = self._requests.known(record) if dialect is CHAT else None
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
            run = self._safely(self._requests.split, record)
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

    def _safely(self, read: Callable[..., Run], *arguments: Any) -> Run:
        try:
            return read(*arguments)
        except BadInput:
            return Run(Request(error="bad_json"), {})
        except UNREADABLE as error:
            return Run(Request(error=f"unreadable_request: {type(error).__name__}"), {})

    def _other(self, record: CallRecord, dialect: Dialect) -> Run:
        """A request in another protocol, put into chat messages."""
        fields = fields_of(record.request)
        if dialect.conversation is None:
            return Run(Request(model=model_of(fields)), {})
        toolset = toolset_of(self._messages, fields)
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
        return Run(Request(chain, joined(fields), toolset, None, model_of(fields), error, depth), {})

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

    def _name_answer(self, parsed: Parsed, run: Run | None) -> None:
        request, answer = parsed.request, parsed.answer
        parent, depth = request.chain[-1].message_id, request.depth + len(request.chain)
        try:
            said = self._messages.say(answer.raw or dump(answer.message).encode(), parent, depth)
        except UNREADABLE:
            answer.error, answer.keep_raw = "unreadable_answer", True
            return
        parsed.given = said.named
        if run is not None:
            run.said = said
        if answer.upstream_id and request.facts is None:
            # Only answers of protocols that keep conversations on the server are named by later requests.
            self._given[parsed.record.caller, answer.upstream_id] = Given(said.named, depth)
