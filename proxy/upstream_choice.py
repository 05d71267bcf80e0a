"""Which of the two clients takes a request: the one on our own event loop, unless a proxy or HTTP/2 is wanted."""

from collections.abc import Mapping
from types import CoroutineType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from .http_messages import Headers
from .upstream import Answer, Body, Upstream, is_local


class ChosenUpstream:
    """`Upstream` of two: `direct` speaks HTTP/1.1, `full` also HTTP/2 and through proxies."""

    def __init__(
        self, direct: Upstream, full: Upstream, http2: bool = False, proxies: Mapping[str, str] | None = None
    ) -> None:
        """`http2`: `https://` URLs are for `full`. `proxies` by scheme, with `no`; None: those of the environment."""
        self._direct, self._full, self._http2 = direct, full, http2
        self._proxies = dict(getproxies_environment() if proxies is None else proxies)
        self._chosen: dict[str, Upstream] = {}

    def send(
        self, method: str, url: str, headers: Headers, body: Body, *, whole: bool = False
    ) -> "CoroutineType[Any, Any, Answer]":
        """The answer of whoever can ask for it. Raises UpstreamError."""
        origin = url[: url.find("/", 8)]
        upstream = self._chosen.get(origin) or self._choose(origin)
        return upstream.send(method, url, headers, body, whole=whole)

    async def close(self) -> None:
        """Close idle connections."""
        await self._direct.close()
        await self._full.close()

    def _choose(self, origin: str) -> Upstream:
        parts = urlsplit(origin)
        wanted = (self._http2 and parts.scheme == "https") or self._proxied(parts.scheme, parts.netloc)
        wanted = wanted or "@" in parts.netloc  # a name and password, which `full` knows how to send
        upstream = self._chosen[origin] = self._full if wanted else self._direct
        return upstream

    def _proxied(self, scheme: str, host: str) -> bool:
        if not (self._proxies.get(scheme) or self._proxies.get("all")) or is_local(host):
            return False
        return not proxy_bypass(host, self._proxies)
