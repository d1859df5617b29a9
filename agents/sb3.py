"""Stable-Baselines3 on the native vector environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from agents.features import COUNT, INCUMBENT_MOVES, features, move_masks
from dnr_env.types import BoolArray, FloatArray
from dnr_env.vector_env import RefineVectorEnv


class FeatureVecEnv(VecEnv):  # type: ignore[misc]
    """A `RefineVectorEnv` as Stable-Baselines3 wants it: features, moves, a list of infos, same-step resets.

    Args:
        envs: `DnR/RefineSlots-v0` in autoreset mode SAME_STEP.
        moves: what the policy chooses from, as (action, slot).
    """

    def __init__(self, envs: RefineVectorEnv, moves: Sequence[tuple[int, int]]) -> None:
        self.envs = envs
        self.moves = np.array(moves)
        self.render_mode = envs.render_mode
        self._chosen: Any = None
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, int)
        super().__init__(envs.num_envs, spaces.Box(-10.0, 10.0, (COUNT,), np.float32), spaces.Discrete(len(moves)))

    def reset(self) -> FloatArray:
        """(n, 29) features of fresh episodes."""
        seeds = None if all(seed is None for seed in self._seeds) else self._seeds
        observation, _ = self.envs.reset(seed=seeds)
        self._reset_seeds()
        self._returns[:] = 0
        self._lengths[:] = 0
        return features(observation)

    def step_async(self, actions: Any) -> None:
        """Keep the moves for `step_wait`."""
        self._chosen = self.moves[actions]

    def step_wait(self) -> tuple[FloatArray, FloatArray, BoolArray, list[dict[str, Any]]]:
        """Features, rewards, dones and infos with SB3's `episode` and `terminal_observation`."""
        observation, rewards, terminated, truncated, infos = self.envs.step(self._chosen)
        self._returns += rewards
        self._lengths += 1
        dones = terminated | truncated
        out: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(dones).tolist():
            final = {key: value[None] for key, value in infos["final_obs"][row].items()}
            out[row] = {
                "terminal_observation": features(final)[0],
                # Steps and budget left are observed and the label is final: nothing follows whose value could be added.
                "TimeLimit.truncated": False,
                "episode": {"r": float(self._returns[row]), "l": int(self._lengths[row])},
            }
        self._returns[dones] = 0
        self._lengths[dones] = 0
        return features(observation), rewards.astype(np.float32), dones, out

    def close(self) -> None:
        """Close the environment."""
        self.envs.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of the vector environment, for each index."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Episodes share their attributes: not to be set one by one."""
        raise NotImplementedError(f"{attr_name} belongs to all episodes together")

    def action_masks(self) -> BoolArray:
        """(n, moves) which moves have an effect."""
        return move_masks(self.envs.action_masks(), self.moves.tolist())

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Row by row what a method returns; `action_masks` is what MaskablePPO asks for."""
        rows: Sequence[Any] = getattr(self, method_name)(*args, **kwargs)
        return [rows[i] for i in self._get_indices(indices)]

    def has_attr(self, attr_name: str) -> bool:
        """Whether the episodes have it."""
        return hasattr(self, attr_name)

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Any = None) -> list[bool]:
        """Never."""
        return [False] * len(list(self._get_indices(indices)))


def make_vec_env(num_envs: int, moves: Sequence[tuple[int, int]] = INCUMBENT_MOVES, **env: Any) -> FeatureVecEnv:
    """`num_envs` episodes for Stable-Baselines3; `env` are arguments of `RefineEnv`."""
    envs = gym.make_vec("dnr_env:DnR/RefineSlots-v0", num_envs=num_envs, **env)
    assert isinstance(envs, RefineVectorEnv)
    return FeatureVecEnv(envs, moves)
