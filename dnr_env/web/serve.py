"""The servers of `dnr serve` and `dnr rate`."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnr_env.agents.human.session import Session
from dnr_env.errors import DnRError
from dnr_env.extras import needed
from dnr_env.rating.plan import rng_of, with_repeats
from dnr_env.rating.study import Study, settle
from dnr_env.stack import Stack

if TYPE_CHECKING:
    from dnr_env.web.guard import Guard


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


def order_of(annotator: str, neurons: Sequence[str], shuffle: bool, repeats: int) -> list[str]:
    """The neurons as an annotator labels them, which depends on the name alone.

    Args:
        annotator: the name.
        neurons: the neurons.
        shuffle: put them into a random order.
        repeats: how many come again, the first ones among the last ones.
    """
    rng = rng_of(annotator)
    order = [neurons[place] for place in rng.permutation(len(neurons)).tolist()] if shuffle else neurons
    return [neuron for neuron, _ in with_repeats(order, repeats, rng)]


def names_of(annotators: Sequence[str]) -> list[str]:
    """The annotators, each once.

    Raises:
        DnRError: there is none, or a name that cannot be that of a file everywhere.
    """
    if not annotators:
        raise DnRError("`annotator` must be at least one name (got none)")
    for name in annotators:
        if not name.isidentifier():
            raise DnRError(f"`annotator` must be letters, digits and underscores, no digit first (got {name!r})")
    return list(dict.fromkeys(annotators))


def run(make: Callable[[int, Mapping[str, str]], Guard], annotators: Sequence[str], port: int, browser: bool) -> None:
    """Serve an application until the process is stopped.

    Args:
        make: makes the application from the port and the annotator of each token.
        annotators: those who get a link.
        port: the port; 0 takes a free one.
        browser: open the first annotator's page.

    Raises:
        DnRError: the port cannot be used.
    """
    with needed("web"):
        import uvicorn
    listening = open_port(port)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    tokens = {secrets.token_urlsafe(24): name for name in annotators}
    for token, name in tokens.items():
        print(f"{name}: {address}/?token={token}", flush=True)
    print("Each link is a key to the page: give it to that person only. Ctrl-C stops the server; nothing is lost.")
    if browser:
        webbrowser.open(f"{address}/?token={next(iter(tokens))}")
    app = make(listening.getsockname()[1], tokens)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=1
    )
    uvicorn.Server(config).run(sockets=[listening])


def serve(
    out: Path,
    annotators: Sequence[str],
    neurons: Sequence[str],
    *,
    stack: str,
    seed: int = 0,
    blind: bool = False,
    shuffle: bool = False,
    repeats: int = 0,
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
        repeats: how many neurons each annotator labels twice.
        port: the port; 0 takes a free one.
        browser: open the first annotator's page.
        rules: further arguments of `RefineEnv`.

    Raises:
        DnRError: an argument cannot be used, or a log cannot.
    """
    with needed("web"):
        from dnr_env.web.app import make_app
    from dnr_env.web.desk import Desk
    from dnr_env.web.gallery import Gallery

    names = names_of(annotators)
    if not 0 <= repeats <= len(neurons):
        raise DnRError(f"`repeats` must be from 0 to the number of neurons, {len(neurons)} (got {repeats})")
    if blind:
        rules["blind"] = True
    desks = {
        name: Desk(
            partial(
                Session.open, out / f"{name}.jsonl", order_of(name, neurons, shuffle, repeats), stack, seed, **rules
            ),
            Gallery(),
        )
        for name in names
    }
    run(partial(make_app, desks), names, port, browser)


def rate(
    out: Path,
    annotators: Sequence[str],
    study: Study,
    stack: Stack,
    *,
    port: int = 8765,
    browser: bool = True,
) -> None:
    """Serve the page that asks people how well labels fit, until the process is stopped.

    Args:
        out: the folder of the study and of its answers.
        annotators: the names of those who answer.
        study: what they are asked.
        stack: whose neurons it is of.
        port: the port; 0 takes a free one.
        browser: open the first annotator's page.

    Raises:
        DnRError: an argument cannot be used, the folder holds another study, or answers cannot be read.
    """
    with needed("web"):
        from dnr_env.web.rating_app import make_rating_app
    from dnr_env.web.gallery import Gallery
    from dnr_env.web.rating_desk import RatingDesk

    names = names_of(annotators)
    settle(out, study)
    desks = {name: RatingDesk(study.answers(out, name), study.plan, stack, study.consent, Gallery()) for name in names}
    run(partial(make_rating_app, desks), names, port, browser)
