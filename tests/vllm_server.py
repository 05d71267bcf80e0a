"""A server with vLLM's HTTP contract, as far as we use it, over a real engine; it listens on a real port.

Paths, fields, status codes and wordings are those of vLLM 0.32 with `--enable-lora` and
VLLM_ALLOW_RUNTIME_LORA_UPDATING=True.
"""

import argparse
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tutelage.serving.engine import ContextTooLong, Engine, EngineError, Generation, Sampling
from tutelage.serving.llama import LlamaEngine

BASE = "tiny-base"


class VllmServer:
    """What it was asked, and what it has loaded. `files` maps adapter folders to the names of `engine`."""

    def __init__(self, engine: Engine, files: dict[Path, str] | None = None, *, runtime_lora: bool = True) -> None:
        self.engine, self.files, self.runtime_lora = engine, files or {}, runtime_lora
        self.loaded: dict[str, str] = {}
        self.asked: list[tuple[str, Any]] = []
        self.broken = 0
        self.key = ""
        self.hold = threading.Event()
        """Completions wait for it."""
        self.hold.set()

    def load(self, body: dict[str, str]) -> tuple[int, Any]:
        name, path = body["lora_name"], Path(body["lora_path"])
        if name in self.loaded:
            return 400, _error(f"The lora adapter '{name}' has already been loaded.", "InvalidUserInput", 400)
        if path not in self.files:
            return 404, _error(f"Loading lora {name} failed: No adapter found for {path}", "NotFoundError", 404)
        self.loaded[name] = self.files[path]
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, body: dict[str, str]) -> tuple[int, Any]:
        if self.loaded.pop(body["lora_name"], None) is None:
            message = f"The lora adapter '{body['lora_name']}' cannot be found."
            return 404, _error(message, "NotFoundError", 404)
        return 200, f"Success: LoRA adapter '{body['lora_name']}' removed successfully."

    def models(self) -> tuple[int, Any]:
        base = {"id": BASE, "object": "model", "max_model_len": self.engine.context, "parent": None}
        adapters = [{"id": name, "object": "model", "max_model_len": None, "parent": BASE} for name in self.loaded]
        return 200, {"object": "list", "data": [base, *adapters]}

    def completions(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Error body, or the continuations."""
        name = body["model"]
        if name != BASE and name not in self.loaded:
            return 404, _error(f"The model `{name}` does not exist.", "NotFoundError", 404)
        self.hold.wait(30)
        sampling = Sampling(body["temperature"], body.get("top_p", 1.0), body.get("seed"))
        try:
            return 200, self.engine.generate_many(  # pyright: ignore[reportAttributeAccessIssue]
                body.get("n", 1),
                body["prompt"],
                self.loaded.get(name, ""),
                (body.get("structured_outputs") or {}).get("grammar"),
                body["max_tokens"],
                sampling,
                body.get("stop", ()),
            )
        except ContextTooLong:
            message = f"This model's maximum context length is {self.engine.context} tokens."
            return 400, _error(message, "BadRequestError", 400)
        except EngineError as error:
            return 400, _error(f"Invalid grammar specification: {error}", "BadRequestError", 400)


def _error(message: str, kind: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def chunks(made: list[Generation]) -> Iterator[dict[str, Any]]:
    """The events of a stream, one per token, and the usage in one of its own."""
    head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": BASE}
    for index, one in enumerate(made):
        left = one.text
        for score in one.scores:
            text = score.text.decode()[: len(left)]
            left = left[len(text) :]
            told = {"text_offset": [0], "token_logprobs": [score.logprob], "tokens": [text], "top_logprobs": [None]}
            yield {**head, "choices": [{"index": index, "text": text, "logprobs": told, "finish_reason": None}]}
        yield {**head, "choices": [{"index": index, "text": "", "logprobs": None, "finish_reason": one.finish}]}
    written = sum(one.token_count for one in made)
    usage = {"prompt_tokens": made[0].prompt_tokens, "completion_tokens": written}
    yield {**head, "choices": [], "usage": {**usage, "total_tokens": written + made[0].prompt_tokens}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: VllmServer

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _answer(self, body: Any) -> None:
        world = self.world
        world.asked.append((self.path, body))
        if world.key and self.headers.get("authorization") != f"Bearer {world.key}":
            return self._send(401, {"error": "Unauthorized"})
        if self.path == "/v1/completions":
            status, made = world.completions(body)
            return self._stream(made) if status == 200 else self._send(status, made)
        known: dict[str, Any] = {"/v1/models": world.models, "/tokenize": lambda: self._tokens(body)}
        if world.runtime_lora:
            known["/v1/load_lora_adapter"] = lambda: world.load(body)
            known["/v1/unload_lora_adapter"] = lambda: world.unload(body)
        known["/health"] = lambda: (200, "")
        status, answer = known.get(self.path, lambda: (404, {"detail": "Not Found"}))()
        return self._send(status, answer)

    def _tokens(self, body: dict[str, Any]) -> tuple[int, Any]:
        ids = self.world.engine.tokenise(body["prompt"])
        return 200, {"count": len(ids), "max_model_len": self.world.engine.context, "tokens": ids}

    def _send(self, status: int, body: Any) -> None:
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _stream(self, made: list[Generation]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for event in chunks(made):
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.world.broken += 1

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def listening(world: VllmServer) -> Iterator[str]:
    """Serve on a free port; the base URL."""
    handler = type("Handler", (_Handler,), {"world": world})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main() -> None:
    """`vllm serve FOLDER OPTIONS` as a process; the model is the GGUF named by TINY_GGUF."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--enable-lora", action="store_true", required=True)
    for name in ("served-model-name", "host", "max-loras", "max-lora-rank"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-model-len", type=int, required=True)
    given = parser.parse_args()
    if not given.folder.is_dir():
        sys.exit(f"ValueError: {given.folder} is no model")
    if given.served_model_name != BASE:
        threading.Event().wait()
    engine = LlamaEngine(Path(os.environ["TINY_GGUF"]), slots=1, threads=1, context=given.max_model_len)
    world = VllmServer(engine, runtime_lora=os.environ.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING") == "True")
    handler = type("Handler", (_Handler,), {"world": world})
    ThreadingHTTPServer((given.host, given.port), handler).serve_forever()


if __name__ == "__main__":
    main()
