"""The `options` of `reset`: the neuron, the initial concepts with their origin, and the block of image seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dnr_env.env.rules import Rules
from dnr_env.errors import DnRError, unknown
from dnr_env.interfaces import ORIGINS, Language, Origin
from dnr_env.neurons import Neurons
from dnr_env.seeds import BLOCKS

OPTIONS = ("neuron", "concepts", "origin", "block")


class Start(NamedTuple):
    """The options of one reset, checked."""

    neuron: int | None
    """The index of the neuron; None draws one at random."""
    concepts: list[str] | None
    """The initial concepts; None takes the proposer's candidates."""
    origin: Origin
    """Where the initial concepts come from, if they are given."""
    block: int | None
    """The block of image seeds; None draws one of the training blocks at random."""


def read_options(options: Any, neurons: Neurons, language: Language, rules: Rules) -> Start:
    """Check the options of one reset.

    Raises:
        DnRError: an option is unknown, or its value cannot be used.
    """
    if not isinstance(options, Mapping):
        raise DnRError(f"`options` must be a mapping such as {{'neuron': {neurons[0]!r}}} (got {options!r})")
    for option in options:
        if option not in OPTIONS:
            raise unknown("options", option, OPTIONS)
    neuron, concepts, origin = options.get("neuron"), options.get("concepts"), options.get("origin", "user")
    if origin not in ORIGINS:
        raise unknown("origin", origin, ORIGINS)
    return Start(
        None if neuron is None else neurons.one(neuron),
        None if concepts is None else _concepts(concepts, language, rules),
        origin,
        _block(options["block"]) if "block" in options else None,
    )


def _concepts(given: Any, language: Language, rules: Rules) -> list[str]:
    texts: list[Any] = [None] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if not all(isinstance(text, str) for text in texts):
        raise DnRError(f"`concepts` must be a list of texts such as ['red star', 'blue thing'] (got {given!r})")
    concepts = list(dict.fromkeys(language.normalise(text) for text in texts))
    if not 1 <= len(concepts) <= rules.n_slots:
        raise DnRError(f"`concepts` must hold 1 to {rules.n_slots} distinct concepts (got {len(concepts)})")
    return concepts


def _block(wanted: Any) -> int:
    if not isinstance(wanted, int | np.integer) or isinstance(wanted, bool) or not 0 <= wanted < BLOCKS:
        raise DnRError(f"`block` must be a whole number from 0 to {BLOCKS - 1} (got {wanted!r})")
    return int(wanted)
