"""Agents with a fixed number of mutations: the plain loop and the published loop of LINE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnr_env.agents.base import Observation, dice, slot_texts
from dnr_env.agents.drawing import DrawingAgent, by_drawings
from dnr_env.env.rules import Action, Rules
from dnr_env.interfaces import Origin, Suggestion
from dnr_env.propose.proposer import drawable
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray

_START = 5  # initial concepts
_SUMMARISED = 3  # concepts in the final summary


class RoundsAgent(DrawingAgent):
    """Mutates the incumbent for a fixed number of rounds, then takes the concept with the highest posterior mean."""

    state_size = 1  # rounds

    def __init__(self, rounds: int) -> None:
        self.rounds = self.mutations = rounds
        self.name = f"rounds:{rounds}"

    def choose(self, observation: Observation, memory: FloatArray, masks: BoolArray | None, rows: IntArray) -> IntArray:
        """MUTATE the incumbent, or STOP after the last round."""
        memory[:, 0] += 1
        actions = np.where(memory[:, 0] > self.rounds, Action.STOP, Action.MUTATE)
        return np.column_stack([actions, np.zeros(len(actions), int)])


class LineAgent(RoundsAgent):
    """The loop of LINE: starts from the strongest real images, mutates for some rounds, and ends with a summary.

    An episode begins with the captions of the five strongest exemplars instead of the writer's candidates. Each round
    mutates the best concept. After the last one the writer summarises the best three concepts. The agent measures this
    summary and takes the best concept of all. The best is the one with the highest score on its drawings. Source: arXiv
    2604.08039, where the loop starts from the names of the classes whose real images excite the neuron most.
    """

    initial_concepts = _START

    def __init__(self, rounds: int) -> None:
        super().__init__(rounds)
        self.name = f"line:{rounds}"
        self._texts: Sequence[Sequence[str]] = ()
        self._said: dict[int, Suggestion] = {}

    def most_measurements(self, rules: Rules, candidates: int) -> int:
        """Return the most KEEPs: one of each initial concept and of each mutant, and one of the summary."""
        return min(rules.most_measurements, _START + self.rounds + 1)

    def prepare(self, stack: Stack, neurons: Sequence[str], score: str) -> list[dict[str, Any]]:
        """Return the captions of the strongest exemplars as initial concepts, if any can be drawn."""
        self._stack = stack
        distinct = list(dict.fromkeys(neurons))
        excerpts = stack.proposer.excerpts(stack.neurons.indices(distinct).tolist())
        found = dict(zip(distinct, excerpts, strict=True))
        starts = {neuron: self._drawable([one.caption for one in part])[:_START] for neuron, part in found.items()}
        return [{"concepts": starts[neuron], "origin": "captions"} if starts[neuron] else {} for neuron in neurons]

    def watch(self, infos: Mapping[str, Any]) -> None:
        """Store the texts of the candidates, best first."""
        self._texts = slot_texts(infos)

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """Draw what is undrawn, or else go on with the loop."""
        self._said = {}
        return super().act(observation, memory, masks, deterministic)

    def choose(self, observation: Observation, memory: FloatArray, masks: BoolArray | None, rows: IntArray) -> IntArray:
        """MUTATE the best in every round, then ADD a summary of the best three, then STOP on the best."""
        memory[:, 0] += 1
        order = by_drawings(observation)
        ending = np.flatnonzero(memory[:, 0] == self.rounds + 1).tolist()
        best = [[text for slot in order[i, :_SUMMARISED] if (text := self._texts[rows[i]][slot])] for i in ending]
        rngs = [dice(observation, memory, i) for i in ending]
        summaries = self._stack.proposer.writer.summarise(best, 1, rngs) if ending else []
        actions = np.where(memory[:, 0] <= self.rounds, Action.MUTATE, Action.STOP)
        for i, summary in zip(ending, summaries, strict=True):
            concepts = self._drawable(summary.concepts)
            if concepts or summary.failure:
                self._said[int(rows[i])] = Suggestion(next(iter(concepts), ""), summary.usage, summary.failure)
            if concepts:
                actions[i] = Action.ADD
        return np.column_stack([actions, order[:, 0]])

    def suggestions(self) -> Mapping[int, Suggestion]:
        """Return the summaries."""
        return self._said

    def origin(self, neuron: str) -> Origin:
        """Return "writer", of whom the summaries are."""
        return "writer"

    def _drawable(self, texts: Sequence[str]) -> list[str]:
        """Return the distinct drawable concepts of the texts, each cut to eight words."""
        return drawable((" ".join(text.split()[:8]) for text in texts), self._stack.language)
