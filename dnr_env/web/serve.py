"""The server of `dnr serve`."""

from __future__ import annotations

import hashlib
import secrets
import socket
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnr_env.agents.human.session import Session
from dnr_env.errors import DnRError
from dnr_env.extras import needed


def open_port(port: int) -> socket.socket:
    """Listen on a port of this machine, which nothing outside can reach; 0 takes a free one.

    Raises:
        DnRError: there is no such port, or another program has it.
    """
    if not 0 <= port < 65536:
        raise DnRError(f"`port` must be from 0 to 65535 (got {port})")
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise DnRError(f"`port` must be a free port, or 0 for any (got {port}: {error.strerror})") from None
    return listening


def order_of(annotator: str, neurons: Sequence[str]) -> list[str]:
    """The neurons in a random order that depends on the annotator's name alone."""
    rng = np.random.default_rng(list(hashlib.sha256(annotator.encode()).digest()))
    return [neurons[place] for place in rng.permutation(len(neurons)).tolist()]


def serve(
    out: Path,
    annotators: Sequence[str],
    neurons: Sequence[str],
    *,
    stack: str,
    seed: int = 0,
    blind: bool = False,
    shuffle: bool = False,
    port: int = 8765,
    browser: bool = True,
    **rules: Any,
) -> None:
    """Serve the page until the process is stopped.

    Args:
        out: the folder of the logs, one for each annotator.
        annotators: their names.
        neurons: the neurons to label, in this order unless `shuffle`.
        stack: the stack, as `RefineEnv` takes it.
        seed: the seed of every episode.
        blind: hide what models say of a neuron until the person has added a concept.
        shuffle: give each annotator the neurons in an order of their own, the same at every start.
        port: the port; 0 takes a free one.
        browser: open the first annotator's page.
        rules: further arguments of `RefineEnv`.

    Raises:
        DnRError: an argument cannot be used, or a log cannot.
    """
    with needed("web"):
        import uvicorn

        from dnr_env.web.app import make_app
    from dnr_env.web.desk import Desk
    from dnr_env.web.gallery import Gallery

    if not annotators:
        raise DnRError("`annotator` must be at least one name (got none)")
    for name in annotators:
        if not name.isidentifier():
            raise DnRError(f"`annotator` must be letters, digits and underscores, no digit first (got {name!r})")
    if blind:
        rules["blind"] = True
    desks = {
        name: Desk(
            Session.open(out / f"{name}.jsonl", order_of(name, neurons) if shuffle else neurons, stack, seed, **rules),
            Gallery(),
        )
        for name in dict.fromkeys(annotators)
    }
    listening = open_port(port)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    tokens = {secrets.token_urlsafe(24): name for name in desks}
    for token, name in tokens.items():
        print(f"{name}: {address}/?token={token}", flush=True)
    print("Each link is a key to the page: give it to that person only. Ctrl-C stops the server; nothing is lost.")
    if browser:
        webbrowser.open(f"{address}/?token={next(iter(tokens))}")
    app = make_app(desks, listening.getsockname()[1], tokens)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run(sockets=[listening])
