"""Which protocol an endpoint speaks, by the end of its path: the proxy may be mounted anywhere."""

from functools import lru_cache

from . import anthropic, completions, responses_api
from .answers import chat_answer
from .dialect import Dialect
from .sse import assemble_chat

CHAT = Dialect("chat", assemble_chat, chat_answer)
_BY_END = {
    "/chat/completions": CHAT,
    "/responses": Dialect("responses", responses_api.assemble, responses_api.answer, responses_api.conversation),
    "/messages": Dialect("messages", anthropic.assemble, anthropic.answer, anthropic.conversation),
    "/completions": Dialect("completions", completions.assemble_completion, completions.completion_answer),
    "/embeddings": Dialect("embeddings", completions.no_stream, completions.embedding_answer),
}


@lru_cache(maxsize=1_000)
def dialect_of(method: str, endpoint: str) -> Dialect | None:
    """How to read the calls of an endpoint; None for one whose calls are only passed on, such as a list of models."""
    path = endpoint.rstrip("/")
    if method != "POST":
        return None
    return next((dialect for end, dialect in _BY_END.items() if path.endswith(end)), None)
