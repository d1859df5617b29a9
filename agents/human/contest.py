"""People in a comparison: their labels beside those of agents, on the same drawings and with the same bill."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dnr_env.agents.human.recorded import Recorded, header_of, logs_in, recorded
from dnr_env.env.rules import Rules
from dnr_env.errors import DnRError
from dnr_env.evaluation.compare import judged
from dnr_env.evaluation.results import Record
from dnr_env.evaluation.rollout import Episode
from dnr_env.stack import Stack

PREFIX = "human:"
"""Before the folder of the sessions, in the name of an agent."""
_COUNT = ("score", "budget", "image_cost", "n_slots", "images_per_measure", "max_steps")


def records_of_people(
    spec: str, stack: Stack, neurons: Sequence[str], seeds: Sequence[int], rules: Rules
) -> list[Record]:
    """The records of all annotators of a folder, as members of one agent.

    Args:
        spec: "human:FOLDER".
        stack: the stack of the comparison.
        neurons: its neurons.
        seeds: its seeds: the one of the sessions.
        rules: its rules.

    Raises:
        DnRError: the sessions were of another stack, other rules or another seed, or a neuron lacks a label.
    """
    found: list[Record] = []
    for path in logs_in(spec.removeprefix(PREFIX)):
        _check(path, stack, seeds, rules)
        labelled = {one.neuron: one for one in recorded(path) if one.label and not one.again}
        lacking = [neuron for neuron in neurons if neuron not in labelled]
        if lacking:
            raise DnRError(f"`neurons` must be those that {path} has labels of (got {lacking[0]!r}, which has none)")
        played = [labelled[neuron] for neuron in neurons]
        records = judged(stack, (spec, path.stem, ""), [_episode(one, rules) for one in played], rules)
        found += [{**record, "seconds": one.seconds} for record, one in zip(records, played, strict=True)]
    return found


def _check(path: Path, stack: Stack, seeds: Sequence[int], rules: Rules) -> None:
    header = header_of(path)
    if header["stack"] != stack.name:
        raise DnRError(f"`stack` must be {header['stack']!r}, with which {path} was begun (got {stack.name!r})")
    if list(seeds) != [header["seed"]]:
        raise DnRError(f"`seeds` must be {header['seed']}, with which {path} was begun (got {list(seeds)})")
    begun = {**{name: getattr(Rules(), name) for name in _COUNT}, **header["options"]}
    for name in _COUNT:
        if begun[name] != getattr(rules, name):
            raise DnRError(f"`{name}` must be {begun[name]}, with which {path} was begun (got {getattr(rules, name)})")


def _episode(one: Recorded, rules: Rules) -> Episode:
    """As `rollout` makes it. What the person was shown and undid is billed as well."""
    gained = np.cumsum(one.rewards) + rules.image_cost * one.images[1:]
    curve: list[tuple[int, float, float | None]] = [(0, 0.0, None)]
    curve += [(int(images), float(gain), None) for images, gain in zip(one.images[1:], gained, strict=True)]
    return Episode(
        one.neuron,
        one.seed,
        label=one.label,
        first_label=one.incumbents[0],
        mean=None,
        deviation=None,
        images=one.billed,
        reward_images=rules.reward_images * len(set(one.incumbents)),
        total_reward=one.total,
        steps=len(one.actions),
        ran_out=False,
        curve=curve,
        concepts=[(one.label, None, 0)],
        labels=[one.label],
        origin="user",
        origins=["user"],
    )
