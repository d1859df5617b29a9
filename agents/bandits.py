"""Best-arm identification: these agents measure the first candidates, propose nothing and choose the best one."""

from __future__ import annotations

import numpy as np

from dnr_env.agents.base import Agent, MeasuringAgent, Observation, column, dice, progress
from dnr_env.agents.loops import SLOTS_ID
from dnr_env.env.rules import Action
from dnr_env.types import BoolArray, FloatArray, IntArray

_SAMPLES = 1000


class HalvingAgent(MeasuringAgent):
    """Sequential halving: measures all candidates equally, drops the worse half, and repeats until one is left.

    With n candidates there are log2(n) rounds, and each has an equal share of the images. The initial measurement,
    which is free, counts towards the first round. Source: Karnin, Koren and Somekh 2013, "Almost Optimal Exploration in
    Multi-Armed Bandits".

    Args:
        images: The most images to draw. None uses the episode's budget except for one measurement, because an episode
            ends before the agent can choose if the budget is spent.
    """

    env_id = SLOTS_ID
    mutates = False
    state_size = 4  # measurements per survivor at the start and end of the round, survivors, measurements left

    def __init__(self, images: int | None = None) -> None:
        self.images = images
        self.name = "halving" if images is None else f"halving:{images}"

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """KEEP the survivors in turn; STOP on the last one."""
        counts = np.rint(column(observation, "images")).astype(int)
        left = np.rint(100 * progress(observation, "budget_left")).astype(int)
        for row in np.flatnonzero(progress(observation, "steps_left") == 1).tolist():
            size, candidates = self.size(observation, row), int((counts[row] > 0).sum())
            most = max(0, int(left[row]) - 1) // size
            pulls = most if self.images is None else min(self.images // size, most)
            memory[row, :4] = _round(0, candidates, pulls + candidates)
        return np.array([_next(counts[row], memory[row]) for row in range(len(memory))])


def _round(start: int, survivors: int, left: int) -> tuple[int, int, int, int]:
    """Plan a round in which each survivor has been measured `start` times, from the measurements left."""
    rounds = max(1, (survivors - 1).bit_length())
    each = left // (rounds * survivors)
    if start == 0:
        each = max(1, each)  # every candidate has been measured once
    return start, start + each, survivors, left - each * survivors


def _next(counts: IntArray, memory: FloatArray) -> tuple[int, int]:
    """Choose action and slot from the number of measurements per slot, and start the next round when one has ended.

    Slots are sorted by score, and a dropped candidate is not measured again. Therefore the survivors are the first of
    the slots that have not been measured in this round.
    """
    while True:
        start, end, survivors, left = memory[:4].astype(int).tolist()
        if survivors <= 1:
            return Action.STOP, int(np.flatnonzero(counts >= start)[0])
        begun = np.flatnonzero((counts > start) & (counts < end))
        waiting = np.flatnonzero(counts == start)[: survivors - int((counts > start).sum())]
        if end > start and len(begun) + len(waiting):
            return Action.KEEP, int([*begun, *waiting][0])
        memory[:4] = _round(end, (survivors + 1) // 2, left)


class LUCBAgent(Agent):
    """Measures the leader and its strongest challenger until their confidence bounds no longer overlap.

    The challenger is the candidate with the highest upper bound. Of the two, the agent measures the one with the larger
    standard error. Source: Kalyanakrishnan, Tewari, Auer and Stone 2012, "PAC Subset Selection in Stochastic
    Multi-armed Bandits".

    Args:
        width: The distance between a score and its bounds, in standard errors.
    """

    env_id = SLOTS_ID
    mutates = False

    def __init__(self, width: float = 0.25) -> None:
        self.width = width
        self.name = f"lucb:{width:g}"

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """KEEP the leader or its challenger, or STOP on the leader."""
        score, error = column(observation, "score"), column(observation, "standard_error")
        upper = np.where(column(observation, "present") > 0, score + self.width * error, -np.inf)
        upper[:, 0] = -np.inf
        challenger = upper.argmax(axis=1)
        rows = np.arange(len(memory))
        apart = score[:, 0] - self.width * error[:, 0] >= upper[rows, challenger]
        less_sure = np.where(error[rows, challenger] > error[:, 0], challenger, 0)
        return np.column_stack([np.where(apart, Action.STOP, Action.KEEP), np.where(apart, 0, less_sure)])


class TopTwoAgent(Agent):
    """Top-two Thompson sampling: measures the best candidate of one posterior sample, or of a second, different one.

    The posteriors are normal; their means are the scores, and their deviations the standard errors. Source: Russo 2016,
    "Simple Bayesian Algorithms for Best Arm Identification".

    Args:
        sure: The agent stops when the candidate with the highest score is the best one with this probability.
    """

    env_id = SLOTS_ID
    mutates = False

    def __init__(self, sure: float = 0.5) -> None:
        self.sure = sure
        self.name = f"top-two:{sure:g}"

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """KEEP one of the two with equal probability, or STOP on the best."""
        scores, errors = column(observation, "score"), column(observation, "standard_error")
        actions = []
        for row, present in enumerate((column(observation, "present") > 0).sum(axis=1).tolist()):
            rng = dice(observation, memory, row)
            samples = rng.normal(scores[row, :present], errors[row, :present], (_SAMPLES, present))
            best = np.bincount(samples.argmax(axis=1), minlength=present) / _SAMPLES
            if best[0] >= self.sure:
                actions.append((int(Action.STOP), 0))
                continue
            slot = int(rng.choice(present, p=best))
            if rng.random() < 0.5 and best[slot] < 1:
                best[slot] = 0  # equals sampling until another candidate is best
                slot = int(rng.choice(present, p=best / best.sum()))
            actions.append((int(Action.KEEP), slot))
        return np.array(actions)
