"""One application on one port."""

import os
import socket
import subprocess
import sys
import time

import httpx
import pytest

from tutelage.proxy.standalone import serve_app
from tutelage.traffic.errors import BadInput

SERVER = """
import sys
from tutelage.proxy.standalone import serve_app
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})
serve_app(app, "127.0.0.1", int(sys.argv[1]))
"""


def test_an_application_is_served_until_it_is_stopped() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], env=dict(os.environ))
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/", timeout=2).text == "here"
                break
            except httpx.ConnectError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_a_port_in_use_is_a_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadInput, match=str(taken.getsockname()[1])):
            serve_app(None, "127.0.0.1", taken.getsockname()[1])
