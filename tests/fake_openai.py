"""A local server that implements the part of the OpenAI protocol that the package uses, and fails on demand."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """What the server does with one request."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    fault: str = ""
    """"hang": no answer; "reset": the connection is closed; "trickle": one byte every 0.1 seconds."""


def completion(content: str | None, finish: str = "stop", refusal: str | None = None, **more: Any) -> Reply:
    """Make a well-formed answer."""
    record = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": content, "refusal": refusal},
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        **more,
    }
    return Reply(body=json.dumps(record).encode())


def phrases(*texts: str) -> Reply:
    """Make an answer in the requested format."""
    return completion(json.dumps({"phrases": texts}))


def error(status: int, code: str = "", message: str = "no", **headers: str) -> Reply:
    """Make an error in the format of OpenAI."""
    record = {"error": {"message": message, "type": code, "param": None, "code": code}}
    return Reply(status, json.dumps(record).encode(), headers=tuple(headers.items()))


class FakeOpenAI:
    """The server, which runs in its own threads inside a with statement.

    Each request gets the next reply of `script`. When the script is empty, `answer` maps its body to a reply.
    """

    def __init__(self, *script: Reply, answer: Callable[[dict[str, Any]], Reply] | None = None) -> None:
        self.script = deque(script)
        self.answer = answer or (lambda body: phrases("red dog"))
        self.models: tuple[str, ...] | Reply = ("m",)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self.released = threading.Event()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                fake.headers.append({name.lower(): value for name, value in self.headers.items()})
                if isinstance(fake.models, Reply):
                    self.send(fake.models)
                    return
                data = [{"id": name, "object": "model", "created": 1, "owned_by": "x"} for name in fake.models]
                self.send(Reply(body=json.dumps({"object": "list", "data": data}).encode()))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with fake._lock:
                    fake.requests.append(body)
                    fake.headers.append({name.lower(): value for name, value in self.headers.items()})
                    fake._now += 1
                    fake.most_at_once = max(fake.most_at_once, fake._now)
                    reply = fake.script.popleft() if fake.script else None
                try:
                    reply = reply or fake.answer(body)
                finally:
                    with fake._lock:
                        fake._now -= 1
                self.send(reply)

            def send(self, reply: Reply) -> None:
                self.close_connection = bool(reply.fault)
                if reply.fault == "hang":
                    fake.released.wait(30)
                if reply.fault in ("hang", "reset"):
                    return
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                self.send_header("Content-Length", str(len(reply.body)))
                for name, value in reply.headers:
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                try:
                    if reply.fault == "trickle":
                        for byte in reply.body:
                            self.wfile.write(bytes([byte]))
                            self.wfile.flush()
                            fake.released.wait(0.1)
                    else:
                        self.wfile.write(reply.body)
                except OSError:  # the client has gone
                    pass

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # clients that disconnect early are part of the tests

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> FakeOpenAI:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
