"""The native vector environment with the interface of Stable-Baselines3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from dnr_env.agents.base import Observation
from dnr_env.agents.learned.features import MOVE_SETS, actions_of, features, move_masks
from dnr_env.env.observe import observe
from dnr_env.env.rules import ActionForm
from dnr_env.env.vector_env import RefineVectorEnv
from dnr_env.types import BoolArray, FloatArray

SCALE = 50.0
"""Learners receive rewards times this: the returns of an episode, of about 0.02, are then of order one."""


class FeatureVecEnv(VecEnv):  # type: ignore[misc]
    """A `VecEnv` of Stable-Baselines3 around one or more `RefineVectorEnv`s. It has features, moves and scaled rewards.

    The `episode` of an info holds the return as the environment pays it.

    Args:
        groups: Vector environments in autoreset mode SAME_STEP, which take the moves. Their rows are concatenated.
        form: What a move consists of.
        see: The function from observations to features (n, features).
    """

    def __init__(
        self,
        groups: Sequence[RefineVectorEnv],
        form: ActionForm,
        see: Callable[[Observation], FloatArray],
    ) -> None:
        self.groups = groups
        self.form: ActionForm = form
        self.moves = MOVE_SETS[form]
        self.see = see
        self.render_mode = groups[0].render_mode
        self._ends = np.cumsum([group.num_envs for group in groups])[:-1]
        """First rows of the second and all further groups."""
        self._chosen: Any = None
        n = sum(group.num_envs for group in groups)
        self._returns = np.zeros(n)
        self._lengths = np.zeros(n, int)
        shape = see(observe(groups[0].episodes.state)).shape[1:]
        super().__init__(n, spaces.Box(-10.0, 10.0, shape, np.float32), spaces.Discrete(len(self.moves)))

    def reset(self) -> FloatArray:
        """Begin new episodes and return their features (n, features)."""
        seen = []
        for group, end in zip(self.groups, np.append(self._ends, self.num_envs), strict=True):
            rows = slice(end - group.num_envs, end)
            observation, _ = group.reset(seed=self._seeds[rows], options={"each": self._options[rows]})
            seen.append(self.see(observation))
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0
        self._lengths[:] = 0
        return np.concatenate(seen)

    def step_async(self, actions: Any) -> None:
        """Store the moves for `step_wait`."""
        self._chosen = actions_of(self.moves[actions])

    def step_wait(self) -> tuple[FloatArray, FloatArray, BoolArray, list[dict[str, Any]]]:
        """Return features, rewards, dones, and infos with SB3's `episode` and `terminal_observation`."""
        seen, gained, ended, finals = [], [], [], []
        for group, chosen in zip(self.groups, np.split(self._chosen, self._ends), strict=True):
            observation, paid, terminated, _, infos = group.step(chosen)
            seen.append(self.see(observation))
            gained.append(paid)
            ended.append(terminated)
            if terminated.any():
                last = infos["final_obs"][terminated]
                finals += list(self.see({key: np.stack([one[key] for one in last]) for key in observation}))
        dones = np.concatenate(ended)
        rewards = np.concatenate(gained)
        self._returns += rewards
        self._lengths += 1
        out: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row, final in zip(np.flatnonzero(dones).tolist(), finals, strict=True):
            out[row] = {
                "terminal_observation": final,
                "TimeLimit.truncated": False,
                "episode": {"r": float(self._returns[row]), "l": int(self._lengths[row])},
            }
        self._returns[dones] = 0
        self._lengths[dones] = 0
        return np.concatenate(seen), (SCALE * rewards).astype(np.float32), dones, out

    def close(self) -> None:
        """Close the environments."""
        for group in self.groups:
            group.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the attribute of the vector environment once per index."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not supported, because all episodes share their attributes."""
        raise NotImplementedError(f"{attr_name} is shared by all episodes and cannot be set")

    def action_masks(self) -> BoolArray:
        """Return a mask (n, moves) of the moves that have an effect."""
        return move_masks(np.concatenate([group.action_masks() for group in self.groups]), self.moves)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method and return its result for each index. MaskablePPO uses it for `action_masks`."""
        rows: Sequence[Any] = getattr(self, method_name)(*args, **kwargs)
        return [rows[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Any = None) -> list[bool]:
        """Return False, since there are no wrappers."""
        return [False] * len(list(self._get_indices(indices)))


def make_vec_env(
    num_envs: int,
    form: ActionForm = "incumbent",
    see: Callable[[Observation], FloatArray] = features,
    groups: Sequence[Mapping[str, Any]] = ({},),
    **env: Any,
) -> FeatureVecEnv:
    """Make environments for Stable-Baselines3.

    Args:
        num_envs: The number of parallel environments, which the groups share as equally as possible.
        form: What a move consists of.
        see: The function from observations to features (n, features).
        groups: Arguments of `RefineVectorEnv`, different for each group.
        **env: Arguments of `RefineVectorEnv` that all groups share.
    """
    sizes = [len(part) for part in np.array_split(np.arange(num_envs), len(groups))]
    envs = [
        RefineVectorEnv(size, "SameStep", actions=form, **env, **group)
        for size, group in zip(sizes, groups, strict=True)
    ]
    return FeatureVecEnv(envs, form, see)


def seed_episodes(model: BaseAlgorithm) -> None:
    """Seed the next episodes of a learner by its seed and its number of steps.

    By default a learner with seed s seeds its rows with s, s + 1, …, so that learners with close seeds share episodes.
    """
    entropy = np.random.SeedSequence([model.seed, model.num_timesteps])
    model.env.seed(int(entropy.generate_state(1)[0] >> 1))
