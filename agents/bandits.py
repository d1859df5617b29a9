"""Best-arm identification: which of the first candidates is best? Measures them, proposes nothing, takes one."""

from __future__ import annotations

import numpy as np

from agents.base import Agent, MeasuringAgent, Observation, column, dice, progress
from agents.loops import SLOTS_ID
from dnr_env.episode import Action
from dnr_env.types import BoolArray, FloatArray, IntArray

_SAMPLES = 1000


class HalvingAgent(MeasuringAgent):
    """Sequential halving: measures the candidates equally, drops the worse half, and again until one is left.

    Each of the log2 of their number of rounds has an equal part of the images. The first measurement, which is free,
    counts to the first round. Source: Karnin, Koren and Somekh 2013, "Almost Optimal Exploration in Multi-Armed
    Bandits".

    Args:
        images: how many to draw at most; None is all that the episode has but one measurement, since an episode that
            has spent everything ends before it can choose.
    """

    env_id = SLOTS_ID
    state_size = 4  # measurements of a survivor when the round began and when it ends, survivors, measurements left

    def __init__(self, images: int | None = None) -> None:
        self.images = images
        self.name = "halving" if images is None else f"halving:{images}"

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """KEEP one survivor after the other; STOP on the last."""
        counts = np.rint(column(observation, "images")).astype(int)
        left = np.rint(100 * progress(observation, "budget_left")).astype(int)
        for row in np.flatnonzero(progress(observation, "steps_left") == 1).tolist():
            size, candidates = self.size(observation, row), int((counts[row] > 0).sum())
            most = max(0, int(left[row]) - 1) // size
            pulls = most if self.images is None else min(self.images // size, most)
            memory[row, :4] = _round(0, candidates, pulls + candidates)
        return np.array([_next(counts[row], memory[row]) for row in range(len(memory))])


def _round(start: int, survivors: int, left: int) -> tuple[int, int, int, int]:
    """The round of so many survivors, of whom each has been measured `start` times: its part of what is left."""
    rounds = max(1, (survivors - 1).bit_length())
    each = left // (rounds * survivors)
    if start == 0:
        each = max(1, each)  # everybody has been measured once
    return start, start + each, survivors, left - each * survivors


def _next(counts: IntArray, memory: FloatArray) -> tuple[int, int]:
    """Action and slot, by the slots' measurements; begins the next round in `memory` where one has ended.

    Slots are in the order of their scores, and who has dropped out is measured no more: of the slots that have not been
    measured since the round began, the survivors are the first.
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
    """Measures the leader and its strongest challenger until the bounds around their scores part.

    The challenger is the candidate with the highest upper bound; of the two, the less certain is measured. Bounds are
    `width` standard errors off the score. Source: Kalyanakrishnan, Tewari, Auer and Stone 2012, "PAC Subset Selection
    in Stochastic Multi-armed Bandits".
    """

    env_id = SLOTS_ID

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
    """Top-two Thompson sampling: measures the candidate that a sample says is best, or the one that another says.

    The posteriors are normal, with the scores for means and their standard errors. Stops when the candidate of the
    best score is the best with a probability of `sure`. Source: Russo 2016, "Simple Bayesian Algorithms
    for Best Arm Identification".
    """

    env_id = SLOTS_ID

    def __init__(self, sure: float = 0.5) -> None:
        self.sure = sure
        self.name = f"top-two:{sure:g}"

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """KEEP one of the two, with equal chances; STOP on the best."""
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
                best[slot] = 0  # the first sample that another is best in
                slot = int(rng.choice(present, p=best / best.sum()))
            actions.append((int(Action.KEEP), slot))
        return np.array(actions)
