"""A local server that implements the part of the Hugging Face hub that models are downloaded by."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "c" * 40


class FakeHub:
    """The server, which runs in its own threads inside a with statement. Every repository has one commit.

    Args:
        folder: holds the files of each repository, in `folder/organisation/name`, and of `folder/checkpoints`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listed: list[str] = []
        """The repositories that were asked for, in order."""
        self.sent: dict[str, int] = {}
        """The bytes of each file that was sent, by repository and path."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, body: bool) -> None:
                path = self.path.partition("?")[0].removeprefix("/")
                if listing := re.fullmatch(r"api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path):
                    hub.listed.append(listing[1])
                    self.send(hub._listing(listing[1]), body)
                    return
                file = hub.folder / re.sub(rf"/resolve/{COMMIT}/", "/", path)
                data = file.read_bytes() if file.is_file() else None
                if data is not None and body:
                    hub.sent[str(file.relative_to(hub.folder))] = len(data)
                self.send(data, body)

            def send(self, data: bytes | None, body: bool) -> None:
                self.send_response(404 if data is None else 200)
                if data is None:
                    self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{hashlib.sha256(data or b"").hexdigest()}"')
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                if body and data:
                    self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def _listing(self, name: str) -> bytes | None:
        root = self.folder / name
        if not root.is_dir():
            return None
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        siblings = [{"rfilename": path.relative_to(root).as_posix(), "size": path.stat().st_size} for path in files]
        return json.dumps({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}).encode()

    def __enter__(self) -> FakeHub:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
