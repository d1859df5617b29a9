"""Servers of the pages, in a thread of the test or as a process, and those who ask them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from dnr_env.agents.human.session import Session
from dnr_env.rating.plan import make_plan
from dnr_env.rating.study import CONSENT, Study, settle
from dnr_env.stack import Stack
from dnr_env.web.app import make_app
from dnr_env.web.desk import Desk
from dnr_env.web.gallery import Gallery
from dnr_env.web.guard import Guard
from dnr_env.web.rating_app import make_rating_app
from dnr_env.web.rating_desk import RatingDesk
from dnr_env.web.serve import open_port

NEURONS = ["layer4:3", "planted:5", "layer2:9", "layer4:7", "layer3:1"]


CHROMIUM = shutil.which("chromium")


@dataclass(frozen=True)
class Server:
    """A server of either page."""

    address: str
    tokens: dict[str, str]
    """The token of each annotator."""

    def link(self, annotator: str = "ann") -> str:
        return f"{self.address}/?token={self.tokens[annotator]}"


@dataclass(frozen=True)
class Served(Server):
    """A server of the labelling page."""

    desks: dict[str, Desk]


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
        name: Desk(partial(Session.open, folder / f"{name}.jsonl", neurons, seed=3, **rules), Gallery())
        for name in annotators
    }
    with _running(partial(make_app, desks), annotators) as (address, tokens):
        yield Served(address, tokens, desks)


@dataclass(frozen=True)
class Rated(Server):
    """A server of the rating page."""

    desks: dict[str, RatingDesk]


@contextmanager
def rating(
    stack: Stack,
    folder: Path,
    labels: Mapping[str, Mapping[str, str]],
    annotators: Sequence[str] = ("ann",),
    items: int = 40,
    repeats: int = 4,
    pairs: bool = False,
) -> Iterator[Rated]:
    neurons = list(next(iter(labels.values())))
    plan = make_plan(labels, neurons, items=items, repeats=repeats, pairs=pairs, control=True, seed=0)
    study = Study(stack.name, "", CONSENT, plan)
    settle(folder, study)
    desks = {
        name: RatingDesk(study.answers(folder, name), plan, stack, study.consent, Gallery()) for name in annotators
    }
    with _running(partial(make_rating_app, desks), annotators) as (address, tokens):
        yield Rated(address, tokens, desks)


@contextmanager
def _running(
    make: Callable[[int, Mapping[str, str]], Guard], annotators: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a server, and the token of each annotator."""
    listening = open_port(0)
    port = listening.getsockname()[1]
    tokens = {name: f"token-of-{name}" for name in annotators}
    app = make(port, {token: name for name, token in tokens.items()})
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}", tokens
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


@contextmanager
def started(*command: str, stderr: int | None = None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of a command that serves a page, and the link of the first annotator."""
    whole = [sys.executable, "-m", "dnr_env.cli.main", *command, "--no-browser", "--port", "0"]
    with subprocess.Popen(whole, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
        assert process.stdout
        yield process, next(line for line in process.stdout if "token=" in line).split()[1]


@contextmanager
def client(server: Server, annotator: str = "ann") -> Iterator[httpx.Client]:
    """The script of a page, in a browser that has followed its link."""
    with httpx.Client(base_url=server.address, headers={"Origin": server.address, "X-Part": "1"}, timeout=60) as one:
        one.get("/", params={"token": server.tokens[annotator]})
        yield one


def send(one: httpx.Client, event: str, step: int, **fields: Any) -> httpx.Response:
    return one.post("/event", data={"event": event, "step": step, **fields})


def step_of(answer: httpx.Response) -> int:
    found = re.search(r'data-step="(\d+)"', answer.text)
    assert found
    return int(found.group(1))


def message_of(answer: httpx.Response) -> str:
    (message,) = re.findall(r'<p id="message" role="alert">(.*?)</p>', answer.text, re.S)
    return str(message)


def full(descriptor: int) -> None:
    """In place of `os.fsync`: the disk is full."""
    raise OSError(28, "No space left on device")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser. Without one, the test is skipped."""
    if CHROMIUM is None:
        pytest.skip("the page is tested in Chromium, which is not installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
