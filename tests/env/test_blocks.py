"""Blocks of image seeds, and the order of equal scores."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dnr_env import Action, DnRError
from dnr_env.seeds import BLOCKS


def test_blocks_show_other_images_and_the_same_block_the_same() -> None:
    env: Any = gym.make("dnr_env:DnR/Refine-v0", neurons="layer4:3")
    _, first = env.reset(seed=0)
    _, again = env.reset(seed=0, options={"block": 0})
    _, other = env.reset(seed=0, options={"block": 1})
    assert set(first["concepts"]) == set(other["concepts"])
    assert np.array_equal(first["activations"], again["activations"])
    assert not np.array_equal(first["activations"], other["activations"])
    kept = [env.step(Action.KEEP)[4] for _ in range(3)][-1]
    assert (kept["activations"] != 0).sum() > (other["activations"] != 0).sum()
    for wrong in (-1, BLOCKS, 0.5, "1", True):
        with pytest.raises(DnRError, match=r"`block` must be a whole number from 0 to 1023 \(got "):
            env.reset(options={"block": wrong})


def test_real_images_break_ties() -> None:
    """Where a neuron saturates, equal scores are ordered by simulation."""
    env: Any = gym.make("dnr_env:DnR/Refine-v0", neurons="planted", score="log_k")
    ties = 0
    for neuron in range(40):
        env.reset(seed=0, options={"neuron": f"planted:{neuron}"})
        state = env.unwrapped.episodes.state
        order = state.order[0, : state.size[0]]
        scores, simulations = state.scores[0, order], state.simulations[0, order]
        for i in range(len(order) - 1):
            if scores[i] == scores[i + 1]:
                assert simulations[i] >= simulations[i + 1]
                ties += 1
            assert scores[i] >= scores[i + 1]
    assert ties
