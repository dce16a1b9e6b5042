"""A stand-in for the endpoint, over real HTTP on loopback: contract B at `/score`, OpenAI streaming at `/v1`.

Its answer says what it was asked and how many messages came before, so that a test can see the history arrive.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from phi_runner.artifacts import Endpoint

KEY = "a-key-of-the-stand-in-0123456789"


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """What the stand-in does with the next requests, and what it was sent."""

    status: int = 200
    detail: str = "the reason"
    answer: str | None = None
    finish: str = "stop"
    pause_s: float = 0.0
    """Rest between two words of a streamed answer."""
    break_off: bool = False
    """End a streamed answer without `[DONE]`."""
    refused: str = ""
    """A question that is answered 422."""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    words_sent: int = 0
    """Words of streamed answers that a client took."""
    model: str = "phi/1"
    hang_ups: int = 0
    """Streamed answers that the client did not read to their end."""

    def text(self, messages: list[dict[str, str]]) -> str:
        """Return the answer to a dialogue."""
        return self.answer if self.answer is not None else f"{messages[-1]['content']} [{len(messages) - 1} before]"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: ClassVar[Behaviour]

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _reply(self, status: int, body: dict[str, Any] | list[str]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if status == 429:
            self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.behaviour.bodies.append(body)
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self._reply(401, {"error": {"message": "wrong key"}})
        elif self.behaviour.status != 200:
            self._reply(self.behaviour.status, {"error": {"message": self.behaviour.detail}})
        elif self.behaviour.refused and body.get("messages", [{}])[-1].get("content") == self.behaviour.refused:
            self._reply(422, {"error": {"message": self.behaviour.detail}})
        elif self.path == "/score":
            asked = body["input_data"]
            if isinstance(asked, list):
                self._reply(200, [self.behaviour.text([{"role": "user", "content": asked[0]}])])
            else:
                self._reply(200, {"output": self.behaviour.text(asked["input_string"])})
        elif self.path == "/v1/chat/completions":
            try:
                self._stream(self.behaviour.text(body["messages"]))
            except (BrokenPipeError, ConnectionResetError):
                self.behaviour.hang_ups += 1
        else:
            self._reply(404, {"detail": "Not Found"})

    def _stream(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for word in text.split(" "):
            self._event(
                {"delta": {"content": word if word == text.split(" ")[0] else f" {word}"}, "finish_reason": None}
            )
            self.behaviour.words_sent += 1
            time.sleep(self.behaviour.pause_s)
        if not self.behaviour.break_off:
            length = len(text.split(" "))
            usage = {"prompt_tokens": 1, "completion_tokens": length, "total_tokens": 1 + length}
            self._event({"delta": {}, "finish_reason": self.behaviour.finish}, usage=usage)
            self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, choice: dict[str, Any], *, usage: dict[str, int] | None = None) -> None:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.behaviour.model}
        event = {**head, "choices": [{"index": 0, **choice}], "usage": usage}
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.flush()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay quiet when a client hangs up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """A running stand-in."""

    endpoint: Endpoint
    behaviour: Behaviour
    server: ThreadingHTTPServer

    def die(self) -> None:
        """Stop answering."""
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def running(folder: Path, *, pid: int = 0, detached: bool = False) -> Iterator[StandIn]:
    """Run a stand-in whose key lies in `folder`."""
    handler = type("Handler", (_Handler,), {"behaviour": Behaviour()})
    server = _Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    key_file = folder / "endpoint.key"
    key_file.write_text(f"{KEY}\n", encoding="utf-8")
    endpoint = Endpoint(
        folder=folder, name="phi-endpoint", url=f"http://127.0.0.1:{server.server_port}", key_file=str(key_file),
        pid=pid, model="phi/1", template_hash="0", detached=detached,
    )  # fmt: skip
    try:
        yield StandIn(endpoint=endpoint, behaviour=handler.behaviour, server=server)
    finally:
        server.shutdown()
        server.server_close()
