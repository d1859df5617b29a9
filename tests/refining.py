"""Environments, actions and mutators that several tests of the environment share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np

from dnr_env.interfaces import MutationBatch, Mutator, Origin, Suggestion, Usage
from dnr_env.stack import Bill, Stack
from dnr_env.types import IntArray

ONE, SLOTS, EDITS = IDS = ("DnR/Refine-v0", "DnR/RefineSlots-v0", "DnR/RefineEdits-v0")
SMALL: dict[str, Any] = {"n_slots": 4, "budget": 30, "max_steps": 8}
WORDS = ("ring", "star", "blue thing", "striped thing", "large circle", "red thing", "wavy thing", "thing on water")


def make(env_id: str = ONE, **options: Any) -> Any:
    """A single environment."""
    return gym.make(env_id, **{**SMALL, **options})


def in_form(actions: Any, env_id: str, slots: Any = 0, kinds: Any = 0) -> Any:
    """(n,) actions in the form of an environment: with slots and kinds where it takes them."""
    parts = [np.asarray(actions), slots, kinds][: 1 + IDS.index(env_id)]
    return parts[0] if len(parts) == 1 else np.stack(np.broadcast_arrays(*parts), axis=-1)


def going_on(rng: np.random.Generator, n: int, env_id: str) -> Any:
    """n random actions without STOP, for any slot and kind, with or without an effect."""
    return in_form(rng.integers(3, size=n), env_id, rng.integers(4, size=n), rng.integers(6, size=n))


def listed(info: dict[str, Any]) -> list[str]:
    """The master list without the padding."""
    return [text for text in info["master"] if text]


class WordByWord:
    """A mutator that suggests the next of a few words, for a fee. `batches` holds what it was given."""

    origin: Origin = "writer"
    usage = Usage(1, 1000, 50)

    def __init__(self) -> None:
        self.batches: list[MutationBatch] = []

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """See `dnr_env.interfaces.Mutator`."""
        self.batches.append(batch)
        return [
            Suggestion(next((word for word in WORDS if word not in tried), concept), self.usage)
            for concept, tried in zip(batch.concepts, batch.tried, strict=True)
        ]


def with_mutator(stack: Stack, mutator: Mutator, prices: tuple[float, float] = (0.0, 0.0)) -> Stack:
    """The stack with one mutator, and a price of a million tokens read and written."""
    return replace(stack, mutators={"own": mutator}, bill=Bill(prices))


def seeds_of(asked: Sequence[IntArray]) -> list[int]:
    """All seeds of some measurements."""
    return [seed for seeds in asked for seed in seeds.ravel().tolist()]
