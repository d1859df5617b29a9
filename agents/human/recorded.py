"""What people did, as data: the episodes of a session's log, as the environment would have played them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium.utils import seeding

from dnr_env.agents.human.log import Log, Move
from dnr_env.agents.human.place import labelled, place_of, standing_moves
from dnr_env.agents.human.session import Session
from dnr_env.env.episodes import Episodes
from dnr_env.env.observe import observe
from dnr_env.env.refine_env import make_episodes
from dnr_env.env.rules import Action
from dnr_env.env.spaces import Choices
from dnr_env.errors import DnRError
from dnr_env.evaluation.verdicts import short_names
from dnr_env.interfaces import Kind
from dnr_env.seeds import block_of
from dnr_env.types import BoolArray, FloatArray, IntArray

MOST_SECONDS = 300.0
"""A pause between two events that is longer counts as this."""
_HEADER = ("format", "stack", "neurons", "seed", "options")


class Recorded(NamedTuple):
    """One neuron's episode, without what was undone. It has n steps, and n + 1 states."""

    annotator: str
    """The name of the log."""
    stack: str
    neuron: str
    again: bool
    """Whether the session has the neuron at an earlier place, too."""
    seed: int
    observations: dict[str, FloatArray]
    """(n + 1, ...) of `DnR/RefineEdits-v0`."""
    masks: BoolArray
    """(n + 1, actions + slots + kinds) the action masks."""
    actions: IntArray
    """(n, 3). A mutation whose kind was left to the mutator is of the kind MODEL; other actions have the kind 0."""
    rewards: FloatArray
    """(n,) on held-out images."""
    incumbents: list[str]
    """(n + 1)."""
    concepts: list[str]
    """(n) what was acted on or, of an ADD, what the person typed."""
    images: IntArray
    """(n + 1,) images drawn so far."""
    billed: int
    """The images that the person was shown, those of undone events too."""
    total: float
    """The return: the sum of the rewards, less the price of what was shown and undone."""
    label: str
    """The label that the person chose; "" if the neuron has none yet."""
    seconds: float
    """The time that the person spent on the neuron. Pauses count as `MOST_SECONDS` at most."""


def logs_in(folder: str | Path) -> list[Path]:
    """The logs of a folder, or the one log that the path names.

    Raises:
        DnRError: there is none.
    """
    path = Path(folder).expanduser()
    found = sorted(path.glob("*.jsonl")) if path.is_dir() else [path] if path.is_file() else []
    if not found:
        raise DnRError(f"`sessions` must be the log of a session, or a folder of logs (got {str(folder)!r})")
    return found


def header_of(path: Path) -> dict[str, Any]:
    """What a log was begun with.

    Raises:
        DnRError: the file is not the log of a session.
    """
    try:
        with path.open("rb") as file:
            header = json.loads(file.readline())
    except (OSError, ValueError):
        header = None
    if not isinstance(header, dict) or tuple(header) != _HEADER:
        raise DnRError(f"`sessions` must be logs of sessions (got {path})")
    return header


def recorded(path: Path) -> Iterator[Recorded]:
    """The episodes of a log, in the order of its neurons. Those that nothing was done with are left out.

    Raises:
        DnRError: the file is not an undamaged log, or its stack cannot be used.
    """
    header = header_of(path)
    log, names = Log(path, header), header["neurons"]
    session = Session.open(path, names, header["stack"], header["seed"], **header["options"])
    billed = {label["number"]: label["images"] for label in session.labels()}
    rules = {**header["options"], "reward": "held_out"}
    rules.pop("blind", None)
    mutator, users = rules.pop("mutator", None), rules.pop("user_concepts", None)
    playing = make_episodes(1, header["stack"], "all", mutator, users, None, rules)
    own = place_of(standing_moves(log.moves), len(names)).own
    seconds = _seconds(path, log, len(names))
    before: set[str] = set()
    for number, (name, moves, spent) in enumerate(zip(names, own, seconds, strict=True), 1):
        if moves:
            one = _played(path.stem, header["stack"], name, int(header["seed"]), moves, playing, spent)
            undone = billed.get(number, one.billed) - one.billed
            price = playing.rules.image_cost * undone
            yield one._replace(again=name in before, billed=one.billed + undone, total=one.total - price)
        before.add(name)


def recorded_in(folders: Sequence[str | Path]) -> list[Recorded]:
    """The episodes of all logs of some folders. Annotators whose logs have the same name are told apart by the folder.

    Raises:
        DnRError: see `logs_in` and `recorded`.
    """
    logs = list(dict.fromkeys(log for folder in folders for log in logs_in(folder)))
    return [
        one._replace(annotator=name) for name, log in zip(short_names(logs), logs, strict=True) for one in recorded(log)
    ]


def _played(
    annotator: str, stack: str, neuron: str, seed: int, moves: Sequence[Move], playing: Episodes, seconds: float
) -> Recorded:
    rng = seeding.np_random(seed)[0]
    playing.begin([0], [rng], [{"neuron": neuron, "block": block_of(seed)}])
    states, masks, actions, rewards, concepts = [observe(playing.state)], [playing.masks("edits")[0]], [], [], []
    incumbents, images, label = [playing.labels[0]], [0], ""
    for move in moves:
        about = playing.texts[0][int(playing.state.order[0, (move.slot or 1) - 1])]
        label = about
        if playing.ended[0]:
            break  # the limit on steps ended it, and the person still chose the label
        if move.text is not None:
            playing.suggest(0, move.text)
        action, slot = Action[move.event.upper()], (move.slot or 1) - 1
        kind = None if move.kind is None else Kind[move.kind.upper()]
        reward, _ = playing.act(Choices(np.array([action]), np.array([slot]), [kind]), [rng])
        recorded_kind = (Kind.MODEL if kind is None else kind) if action == Action.MUTATE else 0
        actions.append((int(action), slot, int(recorded_kind)))
        rewards.append(float(reward[0]))
        concepts.append(move.text or about)
        states.append(observe(playing.state))
        masks.append(playing.masks("edits")[0])
        incumbents.append(playing.labels[0])
        images.append(int(playing.state.image_count[0]))
    return Recorded(
        annotator=annotator,
        stack=stack,
        neuron=neuron,
        again=False,
        seed=seed,
        observations={key: np.concatenate([state[key] for state in states]) for key in states[0]},
        masks=np.stack(masks),
        actions=np.array(actions, np.int64).reshape(-1, 3),
        rewards=np.array(rewards),
        incumbents=incumbents,
        concepts=concepts,
        images=np.array(images),
        billed=images[-1],
        total=sum(rewards),
        label=label if labelled(moves) else "",
        seconds=seconds,
    )


def _seconds(path: Path, log: Log, neurons: int) -> list[float]:
    """The time spent on each neuron: that between an event and the one before, where the person was then."""
    lines = path.read_bytes().splitlines()[1:]
    times = [datetime.fromisoformat(json.loads(line)["time"]).timestamp() for line in lines]
    spent, standing = [0.0] * neurons, list[Move]()
    for number, move in enumerate(log.moves):
        here = place_of(standing, neurons).present
        if number:
            spent[here] += min(times[number] - times[number - 1], MOST_SECONDS)
        standing = standing[:-1] if move.event == "undo" else [*standing, move]
    return spent
