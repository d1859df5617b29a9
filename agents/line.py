"""Agents with a fixed number of mutations: the plain loop and the published loop of LINE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnr_env.agents.base import Agent, Observation, dice, slot_texts
from dnr_env.env.rules import Action
from dnr_env.interfaces import Origin, Suggestion
from dnr_env.propose.proposer import drawable
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray

_START = 5  # initial concepts
_SUMMARISED = 3  # concepts in the final summary


class RoundsAgent(Agent):
    """Mutates the incumbent for a fixed number of rounds, then takes the best candidate."""

    state_size = 1  # rounds

    def __init__(self, rounds: int) -> None:
        self.rounds = self.measurements = rounds
        self.name = f"rounds:{rounds}"

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """MUTATE, or STOP after the last round."""
        memory[:, 0] += 1
        return np.where(memory[:, 0] > self.rounds, Action.STOP, Action.MUTATE)


class LineAgent(RoundsAgent):
    """The loop of LINE: starts from the strongest real images, mutates for some rounds, and ends with a summary.

    An episode begins with the captions of the five strongest exemplars instead of the writer's candidates. After the
    last round the writer summarises the best three concepts. The agent measures this summary and takes the best
    concept of all. The mutator proposes concepts from the history of scores. Source: arXiv 2604.08039, where the loop
    starts from the names of the classes whose real images excite the neuron most.
    """

    initial_concepts = _START

    def __init__(self, rounds: int) -> None:
        super().__init__(rounds)
        self.measurements = rounds + 1
        self.name = f"line:{rounds}"
        self._texts: Sequence[Sequence[str]] = ()
        self._said: dict[int, Suggestion] = {}

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
        """MUTATE in every round, then ADD a summary of the best three, then STOP."""
        memory[:, 0] += 1
        self._said = {}
        rows = np.flatnonzero(memory[:, 0] == self.rounds + 1).tolist()
        best = [[text for text in self._texts[row][:_SUMMARISED] if text] for row in rows]
        rngs = [dice(observation, memory, row) for row in rows]
        for row, summary in zip(
            rows, self._stack.proposer.writer.summarise(best, 1, rngs) if rows else [], strict=True
        ):
            concepts = self._drawable(summary.concepts)
            if concepts or summary.failure:
                self._said[row] = Suggestion(next(iter(concepts), ""), summary.usage, summary.failure)
        adding = np.isin(np.arange(len(memory)), [row for row, said in self._said.items() if said.concept])
        return np.where(memory[:, 0] <= self.rounds, Action.MUTATE, np.where(adding, Action.ADD, Action.STOP))

    def suggestions(self) -> Mapping[int, Suggestion]:
        """Return the summaries."""
        return self._said

    def origin(self, neuron: str) -> Origin:
        """Return "writer", of whom the summaries are."""
        return "writer"

    def _drawable(self, texts: Sequence[str]) -> list[str]:
        """Return the distinct drawable concepts of the texts, each cut to eight words."""
        return drawable((" ".join(text.split()[:8]) for text in texts), self._stack.language)
