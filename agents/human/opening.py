"""What a session begins with: its log and its episode, from arguments that can be used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dnr_env.agents.human.log import Log
from dnr_env.env.episodes import Episodes
from dnr_env.env.refine_env import make_episodes
from dnr_env.errors import DnRError, unknown

FORMAT = 3
"""The version of the log format."""


def opened(
    path: str | Path, neurons: Sequence[str], stack: str | Path, seed: int, options: Mapping[str, Any]
) -> tuple[Log, Episodes]:
    """The log and the episode of `Session.open`, whose arguments these are. The log is made last."""
    options = {name: value.item() if isinstance(value, np.generic) else value for name, value in options.items()}
    for name, value in options.items():
        try:
            json.dumps(value)
        except TypeError:
            raise DnRError(f"`{name}` must be a value that JSON can hold (got {value!r})") from None
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise DnRError(f"`seed` must be a whole number of at least 0 (got {seed!r})")
    if not neurons or isinstance(neurons, str):
        raise DnRError(f"`neurons` must be a list of at least one name (got {neurons!r})")

    rules = {"reward": "none", **options}
    if rules.pop("blind", True) is not True:
        raise DnRError(f"`blind` must be True or left out (got {options['blind']!r})")
    mutator, users = rules.pop("mutator", None), rules.pop("user_concepts", None)
    episodes = make_episodes(1, stack, "all", mutator, users, rules.pop("rules", None), rules)
    known = episodes.stack.neurons
    for neuron in neurons:
        if neuron not in known:
            raise unknown("neurons", neuron, known)
    named = {"stack": str(stack), "neurons": list(neurons), "seed": int(seed)}
    return Log(Path(path).expanduser(), {"format": FORMAT, **named, "options": options}), episodes
