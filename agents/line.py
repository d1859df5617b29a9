"""A fixed number of mutations, alone and inside the published loop of LINE."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.base import Agent, Observation, dice, slot_texts
from dnr_env.describe.propose import excerpts
from dnr_env.episode import Action
from dnr_env.errors import ConceptError
from dnr_env.models import Suggestion
from dnr_env.stacks import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray

_START = 5  # concepts that an episode of LINE begins with
_SUMMARISED = 3


class RoundsAgent(Agent):
    """Mutates the best for a number of rounds, then takes the best, whatever the rounds have brought."""

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
    """The loop of LINE: starts from the strongest real images, mutates for some rounds, ends with a summary.

    An episode begins with the captions of the five strongest exemplars, the strongest first, in the place of the
    writer's candidates. After the last round the writer summarises the best three concepts; the summary is measured,
    and the best of all is the label. Proposing from the history of scores is the mutator's affair. Source: arXiv
    2604.08039; there the start is the names of the classes whose real images excite the neuron most.
    """

    starts = _START

    def __init__(self, rounds: int) -> None:
        super().__init__(rounds)
        self.measurements = rounds + 1
        self.name = f"line:{rounds}"
        self._texts: Sequence[Sequence[str]] = ()
        self._said: dict[int, Suggestion] = {}

    def prepare(self, stack: Stack, neurons: Sequence[str], score: str) -> list[dict[str, Any]]:
        """The captions of each neuron's strongest exemplars; the writer's candidates where none can be drawn."""
        self._stack = stack
        names = stack.lab.reader.neurons
        distinct = list(dict.fromkeys(neurons))
        found = dict(zip(distinct, excerpts(stack, [names.index(neuron) for neuron in distinct]), strict=True))
        starts = {neuron: self._drawable([one.caption for one in part])[:_START] for neuron, part in found.items()}
        return [{"concepts": starts[neuron]} if starts[neuron] else {} for neuron in neurons]

    def watch(self, infos: Mapping[str, Any]) -> None:
        """Keep the texts of the candidates, best first."""
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
        for row, summary in zip(rows, self._stack.writer.summarise(best, 1, rngs) if rows else [], strict=True):
            if concepts := self._drawable(summary.concepts):
                self._said[row] = Suggestion(concepts[0], summary.usage)
        adding = np.isin(np.arange(len(memory)), list(self._said))
        return np.where(memory[:, 0] <= self.rounds, Action.MUTATE, np.where(adding, Action.ADD, Action.STOP))

    def suggestions(self) -> Mapping[int, Suggestion]:
        """The summaries."""
        return self._said

    def _drawable(self, texts: Sequence[str]) -> list[str]:
        """The distinct concepts of some texts, in their order."""
        found: dict[str, None] = {}
        for text in texts:
            with contextlib.suppress(ConceptError):
                found.setdefault(self._stack.normalise(" ".join(text.split()[:8])))
        return list(found)
