"""Rules that choose the kind of each mutation."""

from __future__ import annotations

import numpy as np

from dnr_env.agents.base import Observation, column, dice, progress
from dnr_env.agents.gradient import GradientAgent, ImproveAgent
from dnr_env.interfaces import Kind
from dnr_env.types import BoolArray, FloatArray, IntArray

_TURNS = (int(Kind.MODEL), int(Kind.UNITE), int(Kind.EXCEPT))
_SPREAD = 0.02
"""Deviation of the gain of one mutation, in units of the score."""
_LAST, _COUNTS, _SUMS = 1, slice(2, 2 + len(Kind)), slice(2 + len(Kind), 2 + 2 * len(Kind))


class TurnsAgent(ImproveAgent):
    """Lists what the model promises, a union and an exception in turn, and then draws as `ImproveAgent` does.

    Where the incumbent can have no union or exception, it lists what the model promises.
    """

    def __init__(self, mutations: int = 9) -> None:
        super().__init__(mutations)
        self.name = f"turns:{mutations}"

    def kinds(self, observation: Observation, memory: FloatArray, lists: BoolArray, allowed: BoolArray) -> IntArray:
        """Take the next kind, if it is allowed."""
        turn = np.array(_TURNS)[memory[:, 0].astype(int) % len(_TURNS)]
        return np.where(allowed[np.arange(len(turn)), turn], turn, int(Kind.MODEL))


class ListAgent(TurnsAgent):
    """Lists as `TurnsAgent` does and draws nothing. The label is the listed concept with the highest promise."""

    measurements = 0

    def __init__(self, mutations: int = 18) -> None:
        super().__init__(mutations)
        self.name = f"list:{mutations}"

    def assess(self, observation: Observation) -> tuple[FloatArray, IntArray, IntArray]:
        """No drawing gains anything."""
        none = np.zeros(len(observation["scores"]), int)
        return none.astype(float), none, none


class KindsAgent(GradientAgent):
    """A bandit over kinds: Thompson sampling of the kind whose mutations raise the incumbent's mean most.

    The gain of a mutation is the rise of the best posterior mean when it is listed. The mean gain of a kind has a
    normal prior with mean and deviation s and normal noise with deviation s = 0.02. So after m mutations with gains g,

        θ ~ N((s + Σ g) / (1 + m), s² / (1 + m)).

    The agent samples θ for each kind and takes the allowed kind with the highest. Drawing is that of `GradientAgent`
    with its default constants.
    Source: Thompson 1933; Chapelle and Li 2011, "An Empirical Evaluation of Thompson Sampling".
    """

    state_size = 2 + 2 * len(Kind)  # of `ListingAgent`; the last kind + 1; counts and sums of the gains of each kind

    def __init__(self, mutations: int = 12, look: int = 4) -> None:
        super().__init__(mutations, look)
        self.name = f"kinds:{mutations}:{look}"

    def kinds(self, observation: Observation, memory: FloatArray, lists: BoolArray, allowed: BoolArray) -> IntArray:
        """Learn from the last mutation, and sample the next kind."""
        chosen = []
        for row, state in enumerate(memory):
            if state[_LAST]:
                last = int(state[_LAST]) - 1
                state[_COUNTS][last] += 1
                state[_SUMS][last] += progress(observation, "gain_0")[row]
            weight = 1 + state[_COUNTS]
            sample = (_SPREAD + state[_SUMS]) / weight + _SPREAD / np.sqrt(weight) * dice(
                observation, memory, row
            ).standard_normal(len(Kind))
            kind = int(np.argmax(np.where(allowed[row], sample, -np.inf)))
            state[_LAST] = kind + 1 if lists[row] else 0
            chosen.append(kind)
        return np.array(chosen)


class CoverAgent(GradientAgent):
    """Chooses the kind by what the incumbent covers of the neuron, and how much of what it covers excites.

    Every second mutation, beginning with the first, is of kind MODEL. The others depend on the incumbent:

    | coverage | precision | kind |
    |---|---|---|
    | low | high | UNITE, or BROADEN where that is not allowed: it is too narrow |
    | high | low | EXCEPT, or NARROW where that is not allowed: it is too broad |
    | otherwise | | SWAP |

    Without MODEL in between, an incumbent that no kind improves would be broadened again and again.
    Drawing is that of `GradientAgent` with its default constants. Source: the two sides of an F-score; each kind undoes
    what one side lacks.

    Args:
        mutations: The number of concepts to list.
        coverage: Coverage is low below this. The default is about the median of the most promising concepts.
        precision: Precision is low below this. The default is about their median.
        look: The most KEEPs of one slot that the agent considers together.
    """

    def __init__(self, mutations: int = 12, coverage: float = 0.1, precision: float = 0.5, look: int = 4) -> None:
        super().__init__(mutations, look)
        self.coverage, self.precision = coverage, precision
        self.name = f"cover:{mutations}:{coverage:g}:{precision:g}:{look}"

    def kinds(self, observation: Observation, memory: FloatArray, lists: BoolArray, allowed: BoolArray) -> IntArray:
        """Choose the kind for the incumbent."""
        covers = column(observation, "coverage")[:, 0] >= self.coverage
        precise = column(observation, "precision")[:, 0] >= self.precision
        wider = np.where(allowed[:, Kind.UNITE], int(Kind.UNITE), int(Kind.BROADEN))
        narrower = np.where(allowed[:, Kind.EXCEPT], int(Kind.EXCEPT), int(Kind.NARROW))
        chosen: IntArray = np.select(
            [memory[:, 0] % 2 == 0, ~covers & precise, covers & ~precise],
            [np.full(len(memory), int(Kind.MODEL)), wider, narrower],
            int(Kind.SWAP),
        )
        return chosen
