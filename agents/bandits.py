"""Best-arm identification: these agents measure the first candidates, propose nothing and choose the best one.

As published, each begins with one measurement of every candidate. The value of an arm is its posterior mean.
"""

from __future__ import annotations

import numpy as np

from dnr_env.agents.base import Agent, Observation, column, dice, keeps_left, measure_size
from dnr_env.agents.drawing import SLOTS_ID, DrawingAgent
from dnr_env.env.rules import Action, Rules
from dnr_env.types import BoolArray, FloatArray, IntArray

_SAMPLES = 1000


class HalvingAgent(Agent):
    """Sequential halving: measures all candidates equally, drops the worse half, and repeats until one is left.

    With n candidates there are log2(n) rounds, and each has an equal share of the images. Source: Karnin, Koren and
    Somekh 2013, "Almost Optimal Exploration in Multi-Armed Bandits".

    Args:
        images: The most images to draw. None uses the episode's budget.
    """

    env_id = SLOTS_ID
    mutations = 0
    state_size = 6  # begun, most measurements; see `_round`

    def __init__(self, images: int | None = None) -> None:
        self.images = images
        self.name = "halving" if images is None else f"halving:{images}"

    def most_measurements(self, rules: Rules, candidates: int) -> int:
        """Return the most KEEPs that the images allow."""
        most = rules.most_measurements
        return most if self.images is None else min(most, self.images // rules.images_per_measure)

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """KEEP the survivors in turn; STOP on the last one, or on the best if nothing more can be drawn."""
        counts = np.rint(column(observation, "images")).astype(int)
        left, size = keeps_left(observation), measure_size(observation)
        for row in np.flatnonzero(memory[:, 0] == 0).tolist():
            pulls = int(left[row]) if self.images is None else min(self.images // int(size[row]), int(left[row]))
            memory[row, :6] = 1, pulls, *_round(0, int(column(observation, "present")[row].sum()), pulls)
        chosen = np.array([_next(counts[row], memory[row, 2:6]) for row in range(len(memory))])
        spent = (chosen[:, 0] == Action.KEEP) & (counts.sum(axis=1) >= memory[:, 1])
        chosen[spent] = int(Action.STOP), 0
        return chosen


def _round(start: int, survivors: int, left: int) -> tuple[int, int, int, int]:
    """Plan a round in which each survivor has been measured `start` times, from the measurements left.

    Returns:
        Measurements per survivor at the start and at the end of the round, survivors, and measurements left after it.
    """
    rounds = max(1, (survivors - 1).bit_length())
    each = left // (rounds * survivors)
    if start == 0:
        each = max(1, each)  # every candidate is measured once, as far as the images go
    return start, start + each, survivors, left - each * survivors


def _next(counts: IntArray, memory: FloatArray) -> tuple[int, int]:
    """Choose action and slot from the number of measurements per slot, and start the next round when one has ended.

    Slots are sorted by posterior mean, and that of a dropped candidate no longer changes. Therefore the survivors are
    the first of the slots that have not been measured in this round.
    """
    while True:
        start, end, survivors, left = memory.astype(int).tolist()
        if survivors <= 1:
            return Action.STOP, int(np.flatnonzero(counts >= start)[0])
        begun = np.flatnonzero((counts > start) & (counts < end))
        waiting = np.flatnonzero(counts == start)[: survivors - int((counts > start).sum())]
        if end > start and len(begun) + len(waiting):
            return Action.KEEP, int([*begun, *waiting][0])
        memory[:] = _round(end, (survivors + 1) // 2, left)


class LUCBAgent(DrawingAgent):
    """Measures the leader and its strongest challenger until their confidence bounds no longer overlap.

    The challenger is the candidate with the highest upper bound. Of the two, the agent measures the one with the larger
    deviation. The label is the candidate with the highest posterior mean. Source: Kalyanakrishnan, Tewari, Auer and
    Stone 2012, "PAC Subset Selection in Stochastic Multi-armed Bandits".

    Args:
        width: The distance between a mean and its bounds, in posterior deviations.
    """

    mutations = 0

    def __init__(self, width: float = 0.25) -> None:
        self.width = width
        self.name = f"lucb:{width:g}"

    def most_measurements(self, rules: Rules, candidates: int) -> int:
        """Return the most KEEPs, which only the rules limit."""
        return rules.most_measurements

    def choose(self, observation: Observation, memory: FloatArray, masks: BoolArray | None, rows: IntArray) -> IntArray:
        """KEEP the leader or its challenger, or STOP on the leader."""
        mean, deviation = column(observation, "mean"), column(observation, "deviation")
        upper = np.where(column(observation, "present") > 0, mean + self.width * deviation, -np.inf)
        upper[:, 0] = -np.inf
        challenger = upper.argmax(axis=1)
        each = np.arange(len(memory))
        apart = mean[:, 0] - self.width * deviation[:, 0] >= upper[each, challenger]
        if masks is not None:
            apart |= ~masks[:, Action.KEEP]
        less_sure = np.where(deviation[each, challenger] > deviation[:, 0], challenger, 0)
        return np.column_stack([np.where(apart, Action.STOP, Action.KEEP), np.where(apart, 0, less_sure)])


class TopTwoAgent(DrawingAgent):
    """Top-two Thompson sampling: measures the best candidate of one posterior sample, or of a second, different one.

    The posteriors are those of the observation, normal and independent. The label is the candidate with the highest
    posterior mean. Source: Russo 2016, "Simple Bayesian Algorithms for Best Arm Identification".

    Args:
        sure: The agent stops when the candidate with the highest mean is the best one with this probability.
    """

    mutations = 0

    def __init__(self, sure: float = 0.5) -> None:
        self.sure = sure
        self.name = f"top-two:{sure:g}"

    def most_measurements(self, rules: Rules, candidates: int) -> int:
        """Return the most KEEPs, which only the rules limit."""
        return rules.most_measurements

    def choose(self, observation: Observation, memory: FloatArray, masks: BoolArray | None, rows: IntArray) -> IntArray:
        """KEEP one of the two with equal probability, or STOP on the best."""
        means, deviations = column(observation, "mean"), column(observation, "deviation")
        actions = []
        for row, present in enumerate((column(observation, "present") > 0).sum(axis=1).tolist()):
            rng = dice(observation, memory, row)
            samples = rng.normal(means[row, :present], deviations[row, :present], (_SAMPLES, present))
            best = np.bincount(samples.argmax(axis=1), minlength=present) / _SAMPLES
            if best[0] >= self.sure or (masks is not None and not masks[row, Action.KEEP]):
                actions.append((int(Action.STOP), 0))
                continue
            slot = int(rng.choice(present, p=best))
            if rng.random() < 0.5 and best[slot] < 1:
                best[slot] = 0  # equals sampling until another candidate is best
                slot = int(rng.choice(present, p=best / best.sum()))
            actions.append((int(Action.KEEP), slot))
        return np.array(actions)
