"""The tuning of stopping rules."""

from __future__ import annotations

import numpy as np
import pytest
import sceptic
from hypothesis import given
from hypothesis import strategies as st
from playing import NEURONS

from dnr_env import Rules
from dnr_env.agents.registry import make_agent
from dnr_env.agents.until import LISTED, SIGNALS
from dnr_env.evaluation.rollout import rollout
from dnr_env.stack import Stack


def test_a_rule_stops_in_play_where_it_stops_on_paper(stack: Stack) -> None:
    """The results of tuning on recorded paths equal those of the agent in play."""
    rules = Rules()
    neurons, seeds = NEURONS[:3], (1, 2)
    found = sceptic.paths(stack, neurons, seeds, "informed", rules)
    row = np.arange(len(found.gain))
    for rule in sceptic.tune(found):
        name, threshold, least, most = rule.agent.split(":")[1:]
        point = sceptic.stops(found.signals[name], float(threshold), int(least), int(most))
        assert rule.gain == pytest.approx(found.gain[row, point].mean())
        jobs = [(neuron, seed) for seed in seeds for neuron in neurons]
        episodes = list(rollout(make_agent(f"{rule.agent}@informed"), jobs, stack=stack))
        assert [episode.steps - 1 - LISTED for episode in episodes] == point.tolist()
        bill = rules.image_cost * np.array([episode.images for episode in episodes])
        gains = np.array([episode.curve[-1][1] for episode in episodes])
        assert (gains - bill).mean() == pytest.approx(rule.gain, abs=1e-6)
        assert np.mean([episode.images for episode in episodes]) == pytest.approx(rule.images)


def test_a_signal_of_few_values_is_reached_in_spite_of_rounding() -> None:
    """The steps without a gain are multiples of 1/24, which have no exact decimal form."""
    signal = np.tile(np.array([0, 0, 1, 2, 3], np.float32) / np.float32(24), (7, 1)).astype(float)
    signals = dict.fromkeys(SIGNALS, signal)
    gain = np.tile([0.0, 0.0, 1.0, 0.0, 0.0], (7, 1))
    for rule in sceptic.tune(sceptic.Paths(signals, gain, 5.0 * np.tile(np.arange(5), (7, 1)))):
        assert (rule.gain, rule.images) == (1.0, 10.0)


@given(
    st.lists(st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4), min_size=1, max_size=6),
    st.floats(-1, 1),
    st.integers(0, 2),
    st.integers(0, 3),
)
def test_stops(signal: list[list[float]], threshold: float, least: int, most: int) -> None:
    for row, point in zip(signal, sceptic.stops(np.array(signal), threshold, least, most).tolist(), strict=True):
        expected = 0
        while expected < most and not (expected >= least and row[expected] >= threshold):
            expected += 1
        assert point == expected
