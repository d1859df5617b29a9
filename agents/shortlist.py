"""An agent that draws the most promising concepts a fixed number of times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnr_env.agents.base import Agent, Observation, column
from dnr_env.agents.drawing import SLOTS_ID
from dnr_env.agents.labellers import most_promising
from dnr_env.env.rules import Action
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray


class ShortlistAgent(Agent):
    """Draws the concepts of the vocabulary that real images promise most, each equally often.

    The label is the concept with the highest posterior mean. It is the best fixed plan, and the one to beat.

    Args:
        count: The number of concepts that replace the writer's candidates. It must not exceed the slots of an episode.
        each: The number of measurements of each.
    """

    env_id = SLOTS_ID
    mutations = 0

    def __init__(self, count: int, each: int = 1) -> None:
        self.count = self.initial_concepts = count
        self.each = each
        self.measurements = count * each
        self.name = f"shortlist:{count}" if each == 1 else f"shortlist:{count}:{each}"

    def prepare(self, stack: Stack, neurons: Sequence[str], score: str) -> Sequence[Mapping[str, Any]]:
        """Return the initial concepts of each episode."""
        return [
            {"concepts": concepts, "origin": "model"} for concepts in most_promising(stack, neurons, score, self.count)
        ]

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """KEEP the least drawn slot until each is drawn often enough, then STOP on the best."""
        images = np.where(column(observation, "present") > 0, column(observation, "images"), np.inf)
        slot = images.argmin(axis=1)
        draws = images.min(axis=1) < self.each
        if masks is not None:
            draws &= masks[:, Action.KEEP]
        return np.column_stack([np.where(draws, Action.KEEP, Action.STOP), np.where(draws, slot, 0)])
