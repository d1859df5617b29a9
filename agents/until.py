"""Simple stopping rules, each of which watches one number that a learned policy sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dnr_env.agents.base import Agent, Observation, column, progress
from dnr_env.env.rules import Action
from dnr_env.types import BoolArray, FloatArray, IntArray


def _top_three(observation: Observation) -> FloatArray:
    present = column(observation, "present")[:, :3]
    mean: FloatArray = column(observation, "score")[:, :3].sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return mean


def _lead(observation: Observation) -> FloatArray:
    score, present = column(observation, "score"), column(observation, "present")
    if score.shape[1] < 2:
        return np.zeros(len(score))
    return np.where(present[:, 1] > 0, score[:, 0] - score[:, 1], 0.0)


SIGNALS: Mapping[str, Callable[[Observation], FloatArray]] = {
    "score": lambda o: column(o, "score")[:, 0],
    "lower": lambda o: column(o, "score")[:, 0] - column(o, "standard_error")[:, 0],
    "top-three": _top_three,
    "lead": _lead,
    "simulation": lambda o: column(o, "simulation")[:, 0],
    "similarity": lambda o: column(o, "similarity")[:, 0],
    "specificity": lambda o: column(o, "specificity")[:, 0],
    "certainty": lambda o: -column(o, "standard_error")[:, 0],
    "exhausted": lambda o: -progress(o, "headroom"),
    "stagnation": lambda o: -progress(o, "gain_0"),
    "waiting": lambda o: progress(o, "since_gain"),
    "agreement": lambda o: np.minimum(column(o, "score")[:, 0], column(o, "simulation")[:, 0]),
}
"""Signals (n,) of an observation. Each grows as further mutations become less worthwhile."""


class UntilAgent(Agent):
    """Mutates the incumbent until a signal reaches a threshold.

    Args:
        signal: A name of `SIGNALS`.
        threshold: The agent stops when the signal is at or above this value.
        least: The number of mutations before the agent checks the signal.
        most: The number of mutations after which the agent stops regardless of the signal.

    Raises:
        ValueError: `least` is greater than `most`.
    """

    state_size = 1  # mutations

    def __init__(self, signal: str, threshold: float, least: int, most: int) -> None:
        if least > most:
            raise ValueError(f"`least` must be at most `most`, {most} (got {least})")
        self.signal = SIGNALS[signal]
        self.threshold = threshold
        self.least = least
        self.most = self.measurements = most
        self.name = f"until:{signal}:{threshold:g}:{least}:{most}"

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """MUTATE or STOP."""
        done = memory[:, 0]
        reached = (self.signal(observation) >= self.threshold) & (done >= self.least)
        stops = reached | (done >= self.most)
        memory[:, 0] += 1
        return np.where(stops, Action.STOP, Action.MUTATE)
