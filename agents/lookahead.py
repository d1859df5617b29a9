"""A loop that asks before every step what it is worth."""

from __future__ import annotations

import math

import numpy as np

from agents.base import MeasuringAgent, Observation, column, progress
from agents.loops import SLOTS_ID
from dnr_env.episode import Action
from dnr_env.types import BoolArray, FloatArray, IntArray

_SIZE, _COUNT, _SUM, _SQUARES, _BEST, _TOTAL, _LEAVES = range(7)


class LookaheadAgent(MeasuringAgent):
    """Does what is worth most if it is the last thing that it does, less its price; stops when nothing pays.

    MUTATE is worth the expected gain of a new concept over the best, as one measurement will tell: a normal is fitted
    to how much better than the best the episode's mutants were, with less weight on older ones, since what gains grows
    rare. Its prior says that a mutant is as good as the best on average, and as varied as the first candidates. KEEP,
    on the best or the second, is worth what it may gain by turning the two round. Source: the knowledge gradient,
    Frazier, Powell and Dayanik 2008.
    """

    name = "lookahead"
    env_id = SLOTS_ID
    state_size = 7  # images of a measurement; number, sum and squares of the differences; what was seen before a MUTATE
    doubt = 4.0
    """Mutants that the prior is worth."""
    recency = 0.5
    """Weight of a mutant against that of the next."""

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """What pays most: MUTATE the best, KEEP the best or the second, or STOP."""
        columns = [column(observation, name).astype(float) for name in ("score", "standard_error", "images", "present")]
        first = progress(observation, "steps_left") == 1
        price = progress(observation, "image_cost").astype(float) / 1000
        actions = []
        for row, state in enumerate(memory):
            score, error, images, present = (values[row] for values in columns)
            best, filled = float(score[0]), int(present.sum())
            if first[row]:
                squares = self.doubt * max(float(score[:filled].var()), error[0] ** 2)  # there may be but one
                state[:_BEST] = self.size(observation, row), self.doubt, 0.0, squares
            elif state[_BEST] > -np.inf:  # the last step was a MUTATE
                difference = float(score.sum()) - state[_TOTAL] + state[_LEAVES] - state[_BEST]
                state[_COUNT:_BEST] = self.recency * state[_COUNT:_BEST] + (1.0, difference, difference**2)
            two = range(2 if filled > 1 else 0)
            keep = [_keep_worth(score[:filled], error[:filled], images, slot) for slot in two]
            worth = [_mutant_worth(state), *keep]
            chosen = int(np.argmax(worth))
            state[_BEST] = -np.inf
            if worth[chosen] <= price[row] * state[_SIZE]:
                actions.append((int(Action.STOP), 0))
            elif chosen == 0:
                leaves = float(score[-1]) if filled == len(score) else 0.0
                state[_BEST:-1] = best, float(score.sum()), leaves
                actions.append((int(Action.MUTATE), 0))
            else:
                actions.append((int(Action.KEEP), chosen - 1))
        return np.array(actions)


def _gain(mean: float, deviation: float) -> float:
    """Expected positive part of a normal."""
    if deviation <= 0:
        return max(mean, 0.0)
    z = mean / deviation
    below = 0.5 * math.erfc(-z / math.sqrt(2))
    return mean * below + deviation * math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _mutant_worth(state: FloatArray) -> float:
    """Expected gain of a mutant over the best."""
    mean = state[_SUM] / state[_COUNT]
    return _gain(float(mean), math.sqrt(max(state[_SQUARES] / state[_COUNT] - mean**2, 0.0)))


def _keep_worth(score: FloatArray, error: FloatArray, images: FloatArray, slot: int) -> float:
    """Expected gain of choosing between the two best after one more measurement of a slot.

    The prior of a slot's true score has the variance of the scores in view.
    """
    noise, spread = images[slot] * error[slot] ** 2, float(score.var())  # noise: of one measurement
    if not noise * spread:
        return 0.0
    doubt = 1 / (1 / spread + images[slot] / noise)
    shrunk = spread / (spread + error[:2] ** 2)
    mean = score.mean() + shrunk * (score[:2] - score.mean())
    return _gain(-abs(float(mean[0] - mean[1])), float(doubt / math.sqrt(doubt + noise)))
