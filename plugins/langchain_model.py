"""A `ChatOpenAI` that asks the proxy, and whose requests carry the names of the run that they belong to."""

from typing import Any

import openai
from langchain_openai import ChatOpenAI

from .server import is_local, key_of, url_of
from .tags import tag_requests


def chat_model(model: str, *, server: str = "", api_key: str = "", **settings: Any) -> ChatOpenAI:
    """A chat model behind the proxy.

    model: as for the teacher. server: the proxy's base URL, by default TUTELAGE_URL or http://127.0.0.1:8400/v1.
    api_key: by default TUTELAGE_API_KEY or OPENAI_API_KEY; without any, one that only a teacher without keys accepts.
    settings: those of `ChatOpenAI`; they win over what is set here: usage of streamed answers is asked for, answers
    carry the proxy's headers in `response_metadata["headers"]` (`x-tutelage-route` says who answered), and chat
    completions are used, for only they have patterns. Raises ValueError when `server` is no HTTP URL.
    """
    base_url = url_of(server)
    ours: dict[str, Any] = {
        "base_url": base_url,
        "api_key": key_of(api_key) or "none",
        "stream_usage": True,
        "include_response_headers": True,
        "use_responses_api": False,
    }
    # The classes of the client library, for they are of the family (httpx or httpx2) that it needs.
    trust = not is_local(base_url)
    clients = {
        "http_client": settings.pop("http_client", None) or openai.DefaultHttpxClient(trust_env=trust),
        "http_async_client": settings.pop("http_async_client", None) or openai.DefaultAsyncHttpxClient(trust_env=trust),
    }
    tag_requests(clients["http_client"])
    tag_requests(clients["http_async_client"], is_async=True)
    return ChatOpenAI(model=model, **{**ours, **settings}, **clients)
