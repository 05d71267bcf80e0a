"""The bridge's HTTP side: an ASGI application that answers chat, embeddings and models through an engine.

The engine is LiteLLM, or anything with its two functions. A caller that hangs up cancels the call to the provider.
Until the first part of an answer is there, whatever goes wrong becomes a status of its own; after it, an event.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from ..traffic.canonical import loads
from ..traffic.errors import BadInput
from . import litellm_answers as answers
from .litellm_answers import Body, Failure
from .litellm_options import BridgeOptions

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
log = logging.getLogger("tutelage.bridge")


class Engine(Protocol):
    """The two functions of LiteLLM that are used."""

    async def acompletion(self, **arguments: Any) -> Any: ...

    async def aembedding(self, **arguments: Any) -> Any: ...


class Bridge:
    """The ASGI application."""

    def __init__(self, options: BridgeOptions, engine: Engine, environ: Mapping[str, str]) -> None:
        self._options, self._engine, self._environ = options, engine, environ
        self._models = {model.name: model for model in options.models}
        self._key = environ.get(options.key_env, "") if options.key_env else ""
        names = [options.key_env, *(model.key_env for model in options.models)]
        self._secrets = answers.secrets_in(environ, [name for name in names if name])
        self._started = int(time.time())
        self._running = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        exchange = _Exchange(send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._running += 1
        try:
            body = await _body(receive)
            if body is not None:
                await _unless_gone(self._serve(exchange, scope["method"], scope["path"], headers, body), receive)
        except Exception as error:
            # The type alone: an exception's text may quote what was sent.
            log.error("%s %s failed: %s", scope["method"], scope["path"], type(error).__name__)
            await exchange.fail(Failure(500, "internal_error", "The teacher bridge failed; its log says where."))
        finally:
            self._running -= 1

    async def _serve(
        self, exchange: "_Exchange", method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> None:
        if path == "/health":
            await exchange.whole({"status": "ok", "models": list(self._models), "running": self._running})
        elif not self._let_in(headers):
            await exchange.fail(Failure(401, "invalid_api_key", "The teacher bridge answers its own proxy alone."))
        elif (method, path) == ("GET", "/v1/models"):
            made = {"object": "model", "created": self._started, "owned_by": "litellm"}
            await exchange.whole({"object": "list", "data": [{"id": name, **made} for name in self._models]})
        elif (method, path) == ("POST", "/v1/chat/completions"):
            await self._asked(exchange, body, self._chat)
        elif (method, path) == ("POST", "/v1/embeddings"):
            await self._asked(exchange, body, self._embed)
        else:
            text = (
                f"A teacher that is reached through LiteLLM has no {method} {path}: chat, embeddings and models only."
            )
            await exchange.fail(Failure(404, "unknown_url", text))

    def _let_in(self, headers: Mapping[str, str]) -> bool:
        shown = headers.get("authorization", "").removeprefix("Bearer ")
        return not self._key or hmac.compare_digest(shown.encode(), self._key.encode())

    async def _asked(
        self, exchange: "_Exchange", raw: bytes, answer: Callable[["_Exchange", Body, Body], Awaitable[None]]
    ) -> None:
        try:
            body = _parsed(raw)
            settings = self._settings(body)
            if settings is None:
                known = ", ".join(self._models)
                text = f"The teacher bridge has no model {body['model']!r}. It has: {known}."
                await exchange.fail(Failure(404, "model_not_found", text))
                return
            await answer(exchange, body, settings)
        except BadInput as error:
            await exchange.fail(Failure(400, "invalid_request", str(error)))
        except Exception as error:
            failed = answers.failure(error, self._secrets)
            log.warning("A call was answered with %s %s.", failed.status, failed.code)
            await exchange.fail(failed)

    def _settings(self, body: Body) -> Body | None:
        """What LiteLLM is told beside the request; None for a model that is not one of ours."""
        model = self._models.get(body["model"])
        if model is None:
            return None
        settings: Body = {"model": model.name, "timeout": self._options.timeout_s, "max_retries": 0}
        if model.url:
            settings["api_base"] = model.url
        if model.key_env:
            settings["api_key"] = self._environ[model.key_env].strip()
        return settings

    async def _chat(self, exchange: "_Exchange", body: Body, settings: Body) -> None:
        # Tools are the agent's own: LiteLLM is not to look for servers that offer more (and needs a package for it).
        arguments = {**answers.chat_arguments(body), **settings, "drop_params": False, "_skip_mcp_handler": True}
        made = await self._engine.acompletion(**arguments)
        headers = answers.relayed(getattr(made, "_hidden_params", {}).get("additional_headers"))
        if body.get("stream") is not True:
            await exchange.whole(answers.completion(made), headers)
            return
        parts = aiter(made)
        try:
            # The first part before the head: what fails until then still becomes a status of its own.
            part, model = await anext(parts, None), ""
            await exchange.begin(headers)
            while part is not None:
                model = model or getattr(part, "model", None) or body["model"]
                if (event := answers.chunk(part, model)) is not None:
                    await exchange.piece(answers.frame(event))
                part = await anext(parts, None)
            await exchange.end(b"data: [DONE]\n\n")
        finally:
            with suppress(Exception):
                await made.aclose()

    async def _embed(self, exchange: "_Exchange", body: Body, settings: Body) -> None:
        made = await self._engine.aembedding(**{**answers.embedding_arguments(body), **settings})
        await exchange.whole(answers.embeddings(made, body, settings["model"]))


class _Exchange:
    """The way back: one answer, whole or in pieces."""

    def __init__(self, send: Send) -> None:
        self._send, self._begun, self._ended = send, False, False

    async def whole(self, body: Body, headers: Mapping[str, str] | None = None) -> None:
        await self._start(200, "application/json", headers or {})
        await self.end(msgspec.json.encode(body))

    async def begin(self, headers: Mapping[str, str]) -> None:
        await self._start(200, "text/event-stream; charset=utf-8", {"cache-control": "no-cache", **headers})

    async def piece(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self, piece: bytes) -> None:
        self._ended = True
        await self._send({"type": "http.response.body", "body": piece, "more_body": False})

    async def fail(self, failed: Failure) -> None:
        """As a status where nothing has been sent yet, as an event within a stream."""
        if self._ended:
            return
        if not self._begun:
            await self._start(failed.status, "application/json", failed.headers)
        await self.end(failed.frame() if self._streams else failed.body())

    async def _start(self, status: int, kind: str, headers: Mapping[str, str]) -> None:
        self._begun, self._streams = True, kind.startswith("text/event-stream")
        pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
        pairs.append((b"content-type", kind.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})


async def _body(receive: Receive) -> bytes | None:
    """The whole request; None when the caller has gone."""
    parts, more = [], True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        parts.append(event.get("body", b""))
        more = event.get("more_body", False)
    return b"".join(parts)


def _parsed(raw: bytes) -> Body:
    body = loads(raw)
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadInput("Expected a JSON object with a `model`.")
    return body


async def _unless_gone(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do `work`; when the caller hangs up it is cancelled, and with it the call to the provider."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
    with suppress(asyncio.CancelledError):
        await working


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
