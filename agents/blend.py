"""Agents that choose the label by a weighted mean of its score on drawings and its promise on real images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnr_env.agents.base import Agent, Observation, column, slot_texts
from dnr_env.agents.labellers import most_promising
from dnr_env.agents.loops import SLOTS_ID
from dnr_env.env.rules import Action
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray


class BlendAgent(Agent):
    """Mutates the incumbent for a number of rounds, then takes the candidate with the best blend of score and promise.

    Args:
        rounds: The number of mutations, 0 or more.
        weight: The weight of the score. The promise, `Stack.promises`, has the rest.
    """

    env_id = SLOTS_ID
    state_size = 1  # rounds

    def __init__(self, rounds: int, weight: float) -> None:
        self.rounds = self.measurements = rounds
        self.weight = weight
        self.name = f"blend:{rounds}:{weight:g}"
        self._texts: Sequence[Sequence[str]] = ()

    def prepare(self, stack: Stack, neurons: Sequence[str], score: str) -> Sequence[Mapping[str, Any]]:
        """Store what `act` needs to compute promises."""
        self._stack, self._score = stack, score
        self._neurons = stack.neurons.indices(neurons)
        return super().prepare(stack, neurons, score)

    def watch(self, infos: Mapping[str, Any]) -> None:
        """Store the texts of the candidates, best first."""
        self._texts = slot_texts(infos)

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """MUTATE the incumbent in every round, then STOP on the best blend."""
        memory[:, 0] += 1
        stops = memory[:, 0] > self.rounds
        slots = np.zeros(len(memory), int)
        for row in np.flatnonzero(stops).tolist():
            texts = [text for text in self._texts[row] if text]
            promises = self._stack.promises.foretell(texts, np.repeat(self._neurons[row], len(texts)), self._score)
            scores = column(observation, "score")[row, : len(texts)]
            slots[row] = int(np.argmax(self.weight * scores + (1 - self.weight) * promises))
        return np.column_stack([np.where(stops, Action.STOP, Action.MUTATE), slots])


class ShortlistAgent(BlendAgent):
    """Measures the concepts with the highest promises once each, then takes the one with the best blend.

    Args:
        count: The number of concepts that replace the writer's candidates. It must not exceed the slots of an episode.
        weight: The weight of the score. The promise has the rest.
    """

    def __init__(self, count: int, weight: float) -> None:
        super().__init__(0, weight)
        self.count = self.initial_concepts = count
        self.name = f"shortlist:{count}:{weight:g}"

    def prepare(self, stack: Stack, neurons: Sequence[str], score: str) -> Sequence[Mapping[str, Any]]:
        """Return the initial concepts of each episode."""
        super().prepare(stack, neurons, score)
        return [
            {"concepts": concepts, "origin": "model"} for concepts in most_promising(stack, neurons, score, self.count)
        ]
