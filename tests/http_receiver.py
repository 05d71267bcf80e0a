"""A real HTTP server on a free port that keeps what is posted to it: a webhook's, a collector's, a teacher's place."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Posted(NamedTuple):
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    """What it is answered."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Receiver:
    """`posted` holds what came; `answers` are given one after the other, then `usual`."""

    def __init__(self, usual: Callable[[Posted], Answer] = lambda _: Answer()) -> None:
        self.posted: list[Posted] = []
        self.answers: list[Answer] = []
        self.usual = usual
        self.came = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver._take(self, Posted(self.path, headers, self.rfile.read(length)))

            def log_request(self, code: object = "-", size: object = "-") -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def _take(self, handler: BaseHTTPRequestHandler, posted: Posted) -> None:
        with self.came:
            self.posted.append(posted)
            answer = self.answers.pop(0) if self.answers else self.usual(posted)
            self.came.notify_all()
        handler.send_response(answer.status)
        for name, value in answer.headers:
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(answer.body)))
        handler.end_headers()
        handler.wfile.write(answer.body)

    def wait(self, count: int, timeout_s: float = 20.0) -> list[Posted]:
        """What came, once it is so many; fewer when the time is up."""
        with self.came:
            self.came.wait_for(lambda: len(self.posted) >= count, timeout_s)
            return list(self.posted)


@contextmanager
def receiving(usual: Callable[[Posted], Answer] = lambda _: Answer()) -> Iterator[Receiver]:
    """A started receiver."""
    receiver = Receiver(usual)
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()
