"""Servers of the pages, in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

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
        name: Desk(partial(Session.open, folder / f"{name}.jsonl", neurons, seed=3, **rules), Gallery())
        for name in annotators
    }
    with _running(partial(make_app, desks), annotators) as (address, tokens):
        yield Served(address, desks, tokens)


class Rated(NamedTuple):
    """A server of the rating page."""

    address: str
    desks: dict[str, RatingDesk]
    tokens: dict[str, str]
    """The token of each annotator."""

    def link(self, annotator: str = "ann") -> str:
        return f"{self.address}/?token={self.tokens[annotator]}"


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
        yield Rated(address, desks, tokens)


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
