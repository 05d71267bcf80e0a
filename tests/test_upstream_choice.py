"""Which client takes a call, and that the environment's proxies are really used."""

import asyncio
from collections.abc import Callable

import pytest
from upstream_servers import OK, Handler, answering, asked, listening

from tutelage.proxy.upstream import Answer, Body, Headers, ReqwestUpstream, Timeouts, UpstreamError
from tutelage.proxy.upstream_choice import ChosenUpstream
from tutelage.proxy.upstream_http1 import Http1Upstream


class Noting:
    """An upstream that notes what it is asked for."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.closed = False

    async def send(self, method: str, url: str, headers: Headers, body: Body, *, whole: bool = False) -> Answer:
        self.urls.append(url)
        raise ConnectionError

    async def close(self) -> None:
        self.closed = True


PROXY = "http://proxy.test:3128"


@pytest.mark.parametrize(
    ("url", "proxies", "http2", "full"),
    [
        ("https://api.test/v1/x", {}, False, False),
        ("https://api.test/v1/x", {}, True, True),
        ("http://api.test/v1/x", {}, True, False),
        ("https://api.test/v1/x", {"https": PROXY}, False, True),
        ("http://api.test/v1/x", {"https": PROXY}, False, False),
        ("http://api.test/v1/x", {"http": PROXY}, False, True),
        ("https://api.test/v1/x", {"all": PROXY}, False, True),
        ("https://api.test/v1/x", {"https": PROXY, "no": "api.test"}, False, False),
        ("https://eu.api.test/v1/x", {"https": PROXY, "no": "other.test,.api.test"}, False, False),
        ("https://api.test:8443/v1/x", {"https": PROXY, "no": "*"}, False, False),
        ("http://127.0.0.1:8402/v1/x", {"http": PROXY, "all": PROXY}, False, False),
        ("http://localhost:8402/v1/x", {"http": PROXY}, False, False),
        ("http://[::1]:8402/v1/x", {"http": PROXY}, False, False),
        ("http://127.0.0.1.evil.test/v1/x", {"http": PROXY}, False, True),
        ("https://user:sk-1@api.test/v1/x", {}, False, True),
    ],
)
def test_who_is_asked(url: str, proxies: dict[str, str], http2: bool, full: bool) -> None:
    async def go() -> None:
        first, second = Noting(), Noting()
        chosen = ChosenUpstream(first, second, http2, proxies)
        for _ in range(2):
            with pytest.raises(ConnectionError):
                await chosen.send("GET", url, [], b"")
        assert (second if full else first).urls == [url, url]
        assert (first if full else second).urls == []
        await chosen.close()
        assert first.closed
        assert second.closed

    asyncio.run(go())


def proxy(asked_for: list[bytes]) -> Handler:
    """A proxy that answers by itself what it is asked for, and refuses CONNECT."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await asked(reader)
        asked_for.append(head)
        connecting = head.startswith(b"CONNECT")
        writer.write(b"HTTP/1.1 403 No\r\n\r\n" if connecting else OK + b"content-length: 5\r\n\r\nproxy")

    return handler


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch.setenv


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(
    clean_environment: Callable[[str, str], None], name: str
) -> None:
    async def go() -> None:
        asked_for: list[bytes] = []
        direct = answering(OK + b"content-length: 6\r\n\r\ndirect")
        async with listening(proxy(asked_for)) as (proxy_port, _), listening(direct) as (student_port, _):
            clean_environment(name, f"http://me:sk-1@127.0.0.1:{proxy_port}")
            timeouts = Timeouts(connect_s=5)
            upstream = ChosenUpstream(Http1Upstream(timeouts), ReqwestUpstream(timeouts))
            for whole in (True, False):
                answer = await upstream.send("POST", "http://teacher.test/v1/x?y=1", [], b"{}", whole=whole)
                assert await answer.piece() == b"proxy"
                await answer.close()
            assert asked_for[0].startswith(b"POST http://teacher.test/v1/x?y=1 HTTP/1.1\r\n")
            assert b"proxy-authorization: basic" in asked_for[0].lower()
            for each in (upstream, ReqwestUpstream(timeouts)):
                answer = await each.send("POST", f"http://127.0.0.1:{student_port}/v1", [], b"{}", whole=True)
                assert await answer.piece() == b"direct"
                await each.close()
            assert len(asked_for) == 2

    asyncio.run(go())


def test_tls_goes_through_connect_and_a_refusal_names_no_secret(clean_environment: Callable[[str, str], None]) -> None:
    async def go() -> None:
        asked_for: list[bytes] = []
        async with listening(proxy(asked_for)) as (port, _):
            clean_environment("HTTPS_PROXY", f"http://me:sk-1@127.0.0.1:{port}")
            timeouts = Timeouts(connect_s=5)
            upstream = ChosenUpstream(Http1Upstream(timeouts), ReqwestUpstream(timeouts))
            with pytest.raises(UpstreamError, match="The teacher cannot be reached") as caught:
                await upstream.send("POST", "https://teacher.test/v1", [], b"{}", whole=True)
            await upstream.close()
        assert asked_for[0].startswith(b"CONNECT teacher.test:443 HTTP/1.1\r\n")
        assert "sk-1" not in str(caught.value)
        assert not caught.value.sent

    asyncio.run(go())
