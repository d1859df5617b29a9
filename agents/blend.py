"""A label by both: what the drawings show and what real images promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.base import Agent, Observation, column, slot_texts
from agents.dissect import most_promising
from agents.loops import SLOTS_ID
from dnr_env.episode import Action
from dnr_env.stacks import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray


class BlendAgent(Agent):
    """Mutates the best for a number of rounds; the label is the candidate with the best blend of score and promise.

    Args:
        rounds: how often it mutates, 0 or more.
        weight: what the score counts; the rest is the promise, `Stack.foretell`.
    """

    env_id = SLOTS_ID
    state_size = 1  # rounds

    def __init__(self, rounds: int, weight: float) -> None:
        self.rounds = self.measurements = rounds
        self.weight = weight
        self.name = f"blend:{rounds}:{weight:g}"
        self._texts: Sequence[Sequence[str]] = ()

    def prepare(self, stack: Stack, neurons: Sequence[str], score: str) -> Sequence[Mapping[str, Any]]:
        """Keep what the promises are asked of."""
        self._stack, self._score = stack, score
        self._neurons = np.array([stack.lab.reader.neurons.index(neuron) for neuron in neurons])
        return super().prepare(stack, neurons, score)

    def watch(self, infos: Mapping[str, Any]) -> None:
        """Keep the texts of the candidates, best first."""
        self._texts = slot_texts(infos)

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """MUTATE the best in every round, then STOP on the best blend."""
        memory[:, 0] += 1
        stops = memory[:, 0] > self.rounds
        slots = np.zeros(len(memory), int)
        for row in np.flatnonzero(stops).tolist():
            texts = [text for text in self._texts[row] if text]
            promises = self._stack.foretell(texts, np.repeat(self._neurons[row], len(texts)), self._score)
            scores = column(observation, "score")[row, : len(texts)]
            slots[row] = int(np.argmax(self.weight * scores + (1 - self.weight) * promises))
        return np.column_stack([np.where(stops, Action.STOP, Action.MUTATE), slots])


class ShortlistAgent(BlendAgent):
    """Draws the concepts with the highest promises, once each; the label is the one with the best blend.

    Args:
        count: how many concepts, in place of the writer's candidates; at most as many as an episode has slots.
        weight: what the score counts; the rest is the promise.
    """

    def __init__(self, count: int, weight: float) -> None:
        super().__init__(0, weight)
        self.count = self.starts = count
        self.name = f"shortlist:{count}:{weight:g}"

    def prepare(self, stack: Stack, neurons: Sequence[str], score: str) -> Sequence[Mapping[str, Any]]:
        """The concepts that each episode begins with."""
        super().prepare(stack, neurons, score)
        return [{"concepts": concepts} for concepts in most_promising(stack, neurons, score, self.count)]
