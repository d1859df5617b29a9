"""An agent that estimates the value of every action before it acts."""

from __future__ import annotations

import math

import numpy as np

from dnr_env.agents.base import MeasuringAgent, Observation, column, progress
from dnr_env.agents.loops import SLOTS_ID
from dnr_env.env.rules import Action
from dnr_env.types import BoolArray, FloatArray, IntArray

_SIZE, _COUNT, _SUM, _SQUARES, _BEST, _TOTAL, _LEAVES = range(7)


class LookaheadAgent(MeasuringAgent):
    """One-step look-ahead: takes the action with the highest expected gain minus price, and stops if none is positive.

    The value of MUTATE is the expected gain of one new concept over the incumbent. A normal distribution is fitted to
    the differences between the episode's mutants and the incumbent at the time. Older mutants have less weight, because
    gains become rare. The prior has mean zero and the variance of the first candidates. The value of KEEP, on one of
    the two best candidates, is the expected gain from swapping them. Source: the knowledge gradient, Frazier, Powell
    and Dayanik 2008.
    """

    name = "lookahead"
    env_id = SLOTS_ID
    state_size = 7  # images per measurement; count, sum and squares of the differences; view before MUTATE
    doubt = 4.0
    """Weight of the prior, as a number of mutants."""
    recency = 0.5
    """Weight of a mutant relative to the next one."""

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """MUTATE the incumbent, KEEP one of the two best candidates, or STOP."""
        columns = [column(observation, name).astype(float) for name in ("score", "standard_error", "images", "present")]
        first = progress(observation, "steps_left") == 1
        price = progress(observation, "image_cost").astype(float) / 1000
        actions = []
        for row, state in enumerate(memory):
            score, error, images, present = (values[row] for values in columns)
            best, filled = float(score[0]), int(present.sum())
            if first[row]:
                squares = self.doubt * max(float(score[:filled].var()), error[0] ** 2)  # there may be only one
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
    """Compute the expected positive part of a normal variable."""
    if deviation <= 0:
        return max(mean, 0.0)
    z = mean / deviation
    below = 0.5 * math.erfc(-z / math.sqrt(2))
    return mean * below + deviation * math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)


def _mutant_worth(state: FloatArray) -> float:
    """Compute the expected gain of a mutant over the incumbent."""
    mean = state[_SUM] / state[_COUNT]
    return _gain(float(mean), math.sqrt(max(state[_SQUARES] / state[_COUNT] - mean**2, 0.0)))


def _keep_worth(score: FloatArray, error: FloatArray, images: FloatArray, slot: int) -> float:
    """Compute the expected gain of choosing between the two best after one more measurement of a slot.

    The prior of a slot's true score has the variance of the visible scores.
    """
    noise, spread = images[slot] * error[slot] ** 2, float(score.var())  # noise: of one measurement
    if not noise * spread:
        return 0.0
    doubt = 1 / (1 / spread + images[slot] / noise)
    shrunk = spread / (spread + error[:2] ** 2)
    mean = score.mean() + shrunk * (score[:2] - score.mean())
    return _gain(-abs(float(mean[0] - mean[1])), float(doubt / math.sqrt(doubt + noise)))
