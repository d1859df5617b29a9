"""A server of the page, in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from dnr_env.agents.human.session import Session
from dnr_env.web.app import make_app
from dnr_env.web.desk import Desk
from dnr_env.web.gallery import Gallery
from dnr_env.web.serve import open_port

NEURONS = ["layer4:3", "planted:5", "layer2:9", "layer4:7", "layer3:1"]


class Served(NamedTuple):
    """A server."""

    address: str
    desks: dict[str, Desk]
    tokens: dict[str, str]
    """The token of each annotator."""

    def link(self, annotator: str = "ann") -> str:
        return f"{self.address}/?token={self.tokens[annotator]}"


@contextmanager
def served(
    folder: Path,
    neurons: Sequence[str] = NEURONS,
    annotators: Sequence[str] = ("ann",),
    blind: bool = False,
    **rules: Any,
) -> Iterator[Served]:
    if blind:
        rules["blind"] = True
    desks = {
        name: Desk(Session.open(folder / f"{name}.jsonl", neurons, seed=3, **rules), Gallery()) for name in annotators
    }
    listening = open_port(0)
    port = listening.getsockname()[1]
    tokens = {f"token-of-{name}": name for name in annotators}
    server = uvicorn.Server(
        uvicorn.Config(make_app(desks, port, tokens), log_level="error", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield Served(f"http://127.0.0.1:{port}", desks, {name: token for token, name in tokens.items()})
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
