"""An agent that estimates the value of mutating and of drawing before it acts."""

from __future__ import annotations

import math

import numpy as np

from dnr_env.agents.base import Observation, column, price_of_keep
from dnr_env.agents.drawing import DrawingAgent
from dnr_env.env.rules import Action
from dnr_env.types import BoolArray, FloatArray, IntArray

_BEGUN, _COUNT, _SUM, _SQUARES, _BEST, _TOTAL, _LEAVES = range(7)


class LookaheadAgent(DrawingAgent):
    """One-step look-ahead: takes the action with the highest expected gain minus price, and stops if none is positive.

    The value of MUTATE is the expected gain of one new concept, drawn once, over the incumbent, less the price of these
    drawings. A normal distribution is fitted to the differences between the posterior means of the episode's mutants
    and the incumbent at the time. Older mutants have less weight, because gains become rare. The prior has mean zero
    and the variance of the first candidates' means. The value of KEEP is the `worth` of a slot, less its price. The
    label is the concept with the highest posterior mean. Source: the knowledge gradient, Frazier, Powell and Dayanik
    2008.
    """

    name = "lookahead"
    state_size = 7  # begun; count, sum and squares of the differences; view before MUTATE
    doubt = 4.0
    """Weight of the prior, as a number of mutants."""
    recency = 0.5
    """Weight of a mutant relative to the next one."""

    def choose(self, observation: Observation, memory: FloatArray, masks: BoolArray | None, rows: IntArray) -> IntArray:
        """MUTATE the incumbent, KEEP the slot that is most worth it, or STOP."""
        names = ("mean", "deviation", "worth", "present")
        columns = [column(observation, name).astype(float) for name in names]
        price = price_of_keep(observation)
        actions = []
        for row, state in enumerate(memory):
            mean, deviation, worth, present = (values[row] for values in columns)
            best, filled = float(mean[0]), int(present.sum())
            if not state[_BEGUN]:
                squares = self.doubt * max(float(mean[:filled].var()), deviation[0] ** 2)  # there may be only one
                state[:_BEST] = 1, self.doubt, 0.0, squares
            elif state[_BEST] > -np.inf:  # a mutant has been listed and drawn
                difference = float(mean.sum()) - state[_TOTAL] + state[_LEAVES] - state[_BEST]
                state[_COUNT:_BEST] = self.recency * state[_COUNT:_BEST] + (1.0, difference, difference**2)
            can_draw = masks is None or bool(masks[row, Action.KEEP])
            slot = int(np.argmax(worth))
            values = [_mutant_worth(state), float(worth[slot])]
            chosen = int(np.argmax(values))
            state[_BEST] = -np.inf
            if not can_draw or values[chosen] <= price[row]:
                actions.append((int(Action.STOP), 0))
            elif chosen == 0:
                leaves = float(mean[-1]) if filled == len(mean) else 0.0
                state[_BEST:-1] = best, float(mean.sum()), leaves
                actions.append((int(Action.MUTATE), 0))
            else:
                actions.append((int(Action.KEEP), slot))
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
