"""The direct client: TLS with authorities of one's own, and a pool that never mixes answers up."""

import asyncio
import shutil
import ssl
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from upstream_servers import OK, Way, against, answering, asked, call, free_port, listening, wait_for_port

from tutelage.proxy.upstream import ReqwestUpstream, Timeouts, Upstream, UpstreamError
from tutelage.proxy.upstream_http1 import Http1Upstream
from tutelage.traffic.errors import BadInput

WHOLE, STREAMED = Way(True, True), Way(True, False)
ANSWER = OK + b"content-length: 2\r\n\r\nok"
H2_SERVER = """
import sys
from pathlib import Path
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server import Server
async def app(scope, receive, send):
    if scope["type"] != "http":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["http_version"].encode()})
Server("app", port=int(sys.argv[1]), interface=Interfaces.ASGI, http=HTTPModes.auto, websockets=False,
       ssl_cert=Path(sys.argv[2]), ssl_key=Path(sys.argv[3]), log_level=LogLevels.error,
       ).serve(target_loader=lambda: app, wrap_loader=False)
"""


class Certificates(NamedTuple):
    authority: Path
    certificate: Path
    key: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, and a certificate of it for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl command to make certificates with")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", "/CN=Test CA")
    openssl("req", *new_key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=teacher")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", "names")
    openssl("x509", "-req", "-in", "leaf.csr", *signing, "-out", "leaf.pem")
    return Certificates(folder / "ca.pem", folder / "leaf.pem", folder / "leaf.key")


def both(ca_file: str = "", timeouts: Timeouts | None = None) -> list[Upstream]:
    timeouts = timeouts or Timeouts(connect_s=5)
    return [Http1Upstream(timeouts, ca_file), ReqwestUpstream(timeouts, ca_file)]


@pytest.mark.parametrize("client", [0, 1], ids=["direct", "full"])
def test_an_authority_of_ones_own(certificates: Certificates, client: int) -> None:
    async def go() -> None:
        async with listening(answering(ANSWER, stay_s=0.001), certificates.server()) as (port, began):
            trusting, strict = both(str(certificates.authority))[client], both()[client]
            for whole in (True, False, True):
                answer = await trusting.send("POST", f"https://127.0.0.1:{port}/v1", [], b"{}", whole=whole)
                assert (answer.status, await answer.piece(), await answer.piece()) == (200, b"ok", None)
                await answer.close()
            assert len(began) == 1
            with pytest.raises(UpstreamError, match="ca_file") as caught:
                await strict.send("POST", f"https://127.0.0.1:{port}/v1", [], b"{}")
            assert (caught.value.problem.code, caught.value.sent) == ("upstream_unreachable", False)
            with pytest.raises(UpstreamError, match="cannot be trusted") as named:
                await trusting.send("POST", f"https://localhost:{port}/v1", [], b"{}")
            assert not named.value.sent
            await trusting.close()
            await strict.close()

    asyncio.run(go())


@pytest.mark.parametrize("client", [0, 1], ids=["direct", "full"])
def test_tls_to_a_server_that_speaks_none(client: int) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def go() -> None:
        async with listening(handler) as (port, _):
            upstream = both()[client]
            with pytest.raises(UpstreamError) as caught:
                await upstream.send("GET", f"https://127.0.0.1:{port}/", [], b"")
            assert (caught.value.problem.status, caught.value.sent) == (502, False)
            await upstream.close()

    asyncio.run(go())


def test_cancelling_under_tls_tells_the_server(certificates: Certificates) -> None:
    left = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        try:
            await reader.read()
        finally:
            left.set()

    async def go() -> None:
        async with listening(handler, certificates.server()) as (port, _):
            upstream = Http1Upstream(Timeouts(), str(certificates.authority))
            calling = asyncio.ensure_future(
                upstream.send("POST", f"https://127.0.0.1:{port}/v1", [], b"{}", whole=True)
            )
            await asyncio.sleep(0.3)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await asyncio.wait_for(left.wait(), 2)
            await upstream.close()

    asyncio.run(go())


@pytest.mark.parametrize("upstream", [Http1Upstream, ReqwestUpstream])
def test_a_file_of_authorities_must_hold_some(tmp_path: Path, upstream: type) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        upstream(Timeouts(), str(tmp_path / "none.pem"))
    (tmp_path / "junk.pem").write_text("junk")
    with pytest.raises(BadInput, match="BEGIN CERTIFICATE"):
        upstream(Timeouts(), str(tmp_path / "junk.pem"))


def test_http2_is_spoken_by_the_full_client_alone(certificates: Certificates, tmp_path: Path) -> None:
    port = free_port()
    script = tmp_path / "app.py"
    script.write_text(H2_SERVER)
    command = [sys.executable, str(script), str(port), str(certificates.certificate), str(certificates.key)]
    with subprocess.Popen(command) as server:
        try:
            wait_for_port(port)

            async def go() -> None:
                for upstream, version in zip(both(str(certificates.authority)), (b"1.1", b"2"), strict=True):
                    for whole in (True, False):
                        answer = await upstream.send("GET", f"https://127.0.0.1:{port}/", [], b"", whole=whole)
                        assert await answer.piece() == version
                        await answer.close()
                    await upstream.close()

            asyncio.run(go())
        finally:
            server.terminate()


def test_calls_at_once_never_share_a_connection() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await asked(reader)
            name = head.split(b" ")[1].rpartition(b"=")[2]
            await asyncio.sleep(0.002 * (int(name) % 7))
            writer.write(OK + b"content-length: %d\r\n\r\n%b" % (len(name), name))
            await writer.drain()

    async def test(upstream: Upstream, url: str) -> None:
        async def one(number: int) -> None:
            way = WHOLE if number % 2 else STREAMED
            assert (await call(upstream, f"{url}?n={number}", way))[2] == [b"%d" % number]

        for _ in range(5):
            await asyncio.gather(*(one(number) for number in range(40)))

    assert len(against(WHOLE, handler, test, Timeouts())) <= 40


def test_a_connection_that_was_left_early_is_not_used_again() -> None:
    async def test(upstream: Upstream, url: str) -> None:
        for _ in range(3):
            answer = await upstream.send("POST", url, [], b"{}")
            assert await answer.piece() == b"o"
            await answer.close()

    handler = answering(OK + b"content-length: 2\r\n\r\no", b"k", pause_s=0.3, stay_s=0.001)
    assert len(against(STREAMED, handler, test, Timeouts())) == 3


def test_an_idle_connection_that_the_server_closed_is_not_used_again() -> None:
    async def test(upstream: Upstream, url: str) -> None:
        for _ in range(3):
            assert (await call(upstream, url, WHOLE))[0] == 200
            await asyncio.sleep(0.05)

    assert len(against(WHOLE, answering(ANSWER), test)) == 3


def test_an_answer_that_announces_the_end_is_believed() -> None:
    async def test(upstream: Upstream, url: str) -> None:
        for _ in range(3):
            assert (await call(upstream, url, WHOLE))[0] == 200

    closing = OK + b"connection: close\r\ncontent-length: 2\r\n\r\nok"
    assert len(against(WHOLE, answering(closing, stay_s=0.5), test)) == 3


def test_what_would_become_a_line_of_its_own_is_not_sent() -> None:
    async def test(upstream: Upstream, url: str) -> None:
        for method, target, headers in [
            ("GET", url, [("x-a", "1\r\nx-b: 2")]),
            ("GET", url, [("x-a", "1\n2")]),
            ("GET", url, [("x-a\r", "1")]),
            ("GET", url + "?q=1 HTTP/1.1\r\nx: y", []),
            ("GET", url + "?q=1 2", []),
        ]:
            with pytest.raises(UpstreamError) as caught:
                await upstream.send(method, target, headers, b"")
            assert (caught.value.problem.code, caught.value.sent) == ("cannot_send", False)

    assert against(WHOLE, answering(ANSWER), test) == []


def test_targets_are_sent_as_they_are() -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append((await asked(reader)).split(b"\r\n")[0])
            writer.write(ANSWER)
            await writer.drain()

    targets = ["/%2e%2e/a", "//b?c=%20&d=%C3%A9", "?e", "/f|g\"h'"]

    async def test(upstream: Upstream, url: str) -> None:
        for target in targets:
            assert (await call(upstream, url + target, WHOLE))[0] == 200

    against(WHOLE, handler, test, Timeouts())
    assert heads == [f"POST /v1/x{target} HTTP/1.1".encode() for target in targets]
