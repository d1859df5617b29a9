"""Wrappers for algorithms that need a flat observation, or an action that is one number.

They add action masks in the form of the wrapped action space to Gymnasium's own wrappers. Where a flat observation is
all that is needed, Gymnasium's `FlattenObservation` is enough.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces, wrappers
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers import vector

from dnr_env.env.information import Info
from dnr_env.env.rules import Action
from dnr_env.errors import DnRError
from dnr_env.types import BoolArray, IntArray


class PairAction(wrappers.TransformAction[Any, Any, Any]):
    """Makes the action of `DnR/RefineSlots-v0` one number, `action * n_slots + slot`.

    `action_masks()` and `info["action_mask"]` have one entry for each of these numbers.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)  # before the parent records its own arguments, which have no JSON form
        self._slots = _slots(env.action_space)
        super().__init__(env, lambda action: _pair(action, self._slots), spaces.Discrete(len(Action) * self._slots))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        """Begin an episode."""
        observation, info = super().reset(seed=seed, options=options)
        return observation, _with_pairs(info, self._slots)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Info]:
        """Take one action."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, _with_pairs(info, self._slots)

    def action_masks(self) -> BoolArray:
        """(4 * n_slots,) bool: which actions have an effect."""
        masks: BoolArray = _pair_masks(self.env.get_wrapper_attr("action_masks")(), self._slots)
        return masks


class FlatEnv(wrappers.FlattenObservation[Any, Any, Any]):
    """Makes the observation one `Box`, and the action one number: in `DnR/RefineSlots-v0` that of `PairAction`."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(PairAction(env) if isinstance(env.action_space, spaces.MultiDiscrete) else env)

    def action_masks(self) -> BoolArray:
        """(n,) bool, n the size of the action space: which actions have an effect."""
        masks: BoolArray = self.env.get_wrapper_attr("action_masks")()
        return masks


class VectorPairAction(vector.TransformAction):
    """`PairAction` for vector environments."""

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        self._slots = _slots(env.single_action_space)
        one = spaces.Discrete(len(Action) * self._slots)
        super().__init__(env, lambda actions: _pair(actions, self._slots), single_action_space=one)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        """Begin episodes."""
        observations, infos = super().reset(seed=seed, options=options)
        return observations, _with_pairs(infos, self._slots)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, Info]:
        """Take one action in every episode."""
        observations, rewards, terminated, truncated, infos = super().step(actions)
        return observations, rewards, terminated, truncated, _with_pairs(infos, self._slots)

    def action_masks(self) -> BoolArray:
        """(n, 4 * n_slots) bool: which actions have an effect."""
        masks: BoolArray = _pair_masks(self.env.unwrapped.action_masks(), self._slots)  # type: ignore[attr-defined]
        return masks


class FlatVectorEnv(vector.FlattenObservation):
    """`FlatEnv` for vector environments. Like every observation wrapper of Gymnasium it refuses SAME_STEP."""

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        paired = isinstance(env.single_action_space, spaces.MultiDiscrete)
        super().__init__(VectorPairAction(env) if paired else env)

    def action_masks(self) -> BoolArray:
        """(n, m) bool, m the size of the action space of one episode: which actions have an effect."""
        inner = self.env if isinstance(self.env, VectorPairAction) else self.env.unwrapped
        masks: BoolArray = inner.action_masks()  # type: ignore[attr-defined]
        return masks


def _slots(space: Any) -> int:
    if not isinstance(space, spaces.MultiDiscrete):
        raise DnRError(f"`env` must have the action space of DnR/RefineSlots-v0 (got {space})")
    return int(space.nvec[-1])


def _pair(actions: Any, slots: int) -> IntArray:
    """Split numbers (...) into pairs (..., 2)."""
    array, most = np.asarray(actions), len(Action) * slots - 1
    if not np.issubdtype(array.dtype, np.integer) or (array < 0).any() or (array > most).any():
        raise DnRError(f"an action must be an integer from 0 to {most} (got {actions!r})")
    return np.stack(np.divmod(array, slots), axis=-1)


def _pair_masks(masks: BoolArray, slots: int) -> Any:
    """(..., 4 + slots) masks of actions and slots to (..., 4 * slots) masks of pairs, of the same type."""
    pairs = masks[..., : len(Action), None] & masks[..., None, -slots:]
    return pairs.reshape(*masks.shape[:-1], -1)


def _with_pairs(info: Info, slots: int) -> Info:
    """The info with masks of pairs, also in the infos of ended episodes."""
    out = {**info, "action_mask": _pair_masks(info["action_mask"], slots)}
    if "final_info" in info:
        out["final_info"] = _with_pairs(info["final_info"], slots)
    return out
