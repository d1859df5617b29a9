"""Blocks of image seeds: where an episode's comes from, and what it decides."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from refining import IDS, SLOTS, in_form, make

from dnr_env import Action, DnRError
from dnr_env.seeds import BLOCKS, TRAINING_BLOCKS


def blocks(envs: Any) -> list[int]:
    found: list[int] = envs.unwrapped.episodes.state.block.tolist()
    return found


def test_an_episode_draws_its_block_after_its_neuron() -> None:
    """From the generator of the reset, so that a seed decides both, and a given neuron leaves the first draw to it."""
    envs = gym.make_vec("dnr_env:DnR/Refine-v0", num_envs=64)
    count = len(envs.unwrapped.episodes.neurons)  # type: ignore[attr-defined]
    envs.reset(seed=100)
    for row in range(64):
        rng = np.random.default_rng(100 + row)
        place, block = rng.integers(count), rng.integers(TRAINING_BLOCKS)
        assert envs.unwrapped.episodes.neuron[row] == envs.unwrapped.episodes.neurons[place]  # type: ignore[attr-defined]
        assert blocks(envs)[row] == block
    assert set(blocks(envs)) == set(range(TRAINING_BLOCKS)) == set(range(8))
    envs.reset(seed=100, options={"neuron": "layer4:3"})
    assert blocks(envs) == [np.random.default_rng(100 + row).integers(TRAINING_BLOCKS) for row in range(64)]
    envs.reset(seed=100, options={"block": 11})
    assert blocks(envs) == [11] * 64


@pytest.mark.parametrize("env_id", IDS)
def test_a_block_is_one_set_of_drawings(env_id: str) -> None:
    """The same block shows and pays everybody the same, whatever the seed; another block shows other images."""
    env, seen, paid = make(env_id, neurons="layer4:3"), [], []
    for seed, block in ((0, 2), (1, 2), (0, 3)):
        _, info = env.reset(seed=seed, options={"block": block, "concepts": ["blue thing", "star"]})
        texts = info["concepts"]
        steps = [env.step(in_form(action, env_id, slot)) for action, slot in ((0, 0), (0, 1), (0, 0), (3, 1))]
        assert steps[-1][4]["concepts"] != ("", "")
        place = steps[-1][4]["concepts"].index(texts[0])
        seen.append(steps[-1][4]["activations"][place])
        paid.append([step[1] for step in steps])
    assert np.array_equal(seen[0], seen[1])
    assert paid[0] == paid[1]
    assert not np.array_equal(seen[0], seen[2])


def test_blocks_decide_what_a_label_is_worth() -> None:
    """Reward seeds come from the same block as the agent's, so values of one label differ between blocks."""
    env: Any = make(SLOTS, neurons="layer4:3", image_cost=0.0)
    rewards = set()
    for block in (0, 0, 1, 23):
        env.reset(seed=0, options={"block": block, "concepts": ["blue thing", "star"]})
        rewards.add(env.step([Action.STOP, 1])[1])
    assert len(rewards) == 3


@pytest.mark.parametrize("wrong", [-1, BLOCKS, 0.5, "1", True, None])
def test_a_block_out_of_range_is_refused(wrong: Any) -> None:
    with pytest.raises(DnRError, match=r"`block` must be a whole number from 0 to 1023 \(got "):
        make().reset(options={"block": wrong})
