"""Simple stopping rules, each of which watches one number that a learned policy sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from dnr_env.agents.base import Agent, Observation, column, progress
from dnr_env.env.rules import Action
from dnr_env.types import BoolArray, FloatArray, IntArray

LISTED = 3
"""The number of concepts that a rule lists before it draws."""


def _lead(observation: Observation) -> FloatArray:
    mean, present = column(observation, "mean"), column(observation, "present")
    if mean.shape[1] < 2:
        return np.zeros(len(mean))
    return np.where(present[:, 1] > 0, mean[:, 0] - mean[:, 1], 0.0)


SIGNALS: Mapping[str, Callable[[Observation], FloatArray]] = {
    "mean": lambda o: column(o, "mean")[:, 0],
    "lower": lambda o: column(o, "mean")[:, 0] - column(o, "deviation")[:, 0],
    "certainty": lambda o: -column(o, "deviation")[:, 0],
    "lead": _lead,
    "futility": lambda o: -column(o, "worth").max(axis=1),
    "images": lambda o: column(o, "images")[:, 0],
    "surprise": lambda o: column(o, "mean")[:, 0] - column(o, "promise")[:, 0],
    "simulation": lambda o: column(o, "simulation")[:, 0],
    "similarity": lambda o: column(o, "similarity")[:, 0],
    "exhausted": lambda o: -progress(o, "headroom"),
    "stagnation": lambda o: -progress(o, "gain_0"),
    "waiting": lambda o: progress(o, "since_gain"),
}
"""Signals (n,) of an observation. Each grows as further drawings become less worthwhile."""


class UntilAgent(Agent):
    """Lists three mutants of the incumbent, then draws the most hopeful candidate until a signal reaches a threshold.

    The most hopeful candidate has the highest posterior mean + deviation (KEEP of `DnR/Refine-v0`). The label is the
    concept with the highest posterior mean.

    Args:
        signal: A name of `SIGNALS`.
        threshold: The agent stops when the signal is at or above this value.
        least: The number of measurements before the agent checks the signal.
        most: The number of measurements after which the agent stops regardless of the signal.

    Raises:
        ValueError: `least` is greater than `most`.
    """

    mutations = LISTED
    state_size = 1  # actions

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
        """MUTATE, KEEP or STOP."""
        drawn = memory[:, 0] - LISTED
        memory[:, 0] += 1
        stops = ((self.signal(observation) >= self.threshold) & (drawn >= self.least)) | (drawn >= self.most)
        if masks is not None:
            stops |= ~masks[:, Action.KEEP]
        return np.select([drawn < 0, stops], [int(Action.MUTATE), int(Action.STOP)], int(Action.KEEP))
