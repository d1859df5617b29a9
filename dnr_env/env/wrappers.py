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


class OneNumberEnv(wrappers.TransformAction[Any, Any, Any]):
    """Makes the action of `DnR/RefineSlots-v0` or `DnR/RefineEdits-v0` one number.

    The number is `action * n_slots + slot` or, with kinds, `(action * n_slots + slot) * 6 + kind`. `action_masks()` and
    `info["action_mask"]` have one entry for each number. They allow one number for each thing that can be done: of
    those that differ only in what an action ignores (the slot of ADD, the kind of all but MUTATE), the lowest.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)  # before the parent records its own arguments, which have no JSON form
        self._sizes = _sizes(env.action_space)
        super().__init__(env, lambda action: _parts(action, self._sizes), _numbers(self._sizes))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        """Begin an episode."""
        observation, info = super().reset(seed=seed, options=options)
        return observation, _with_numbers(info, self._sizes)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Info]:
        """Take one action."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, _with_numbers(info, self._sizes)

    def action_masks(self) -> BoolArray:
        """(m,) bool, m the size of the action space: which numbers stand for an action that has an effect."""
        masks: BoolArray = _number_masks(self.env.get_wrapper_attr("action_masks")(), self._sizes)
        return masks


class FlatEnv(wrappers.FlattenObservation[Any, Any, Any]):
    """Makes the observation one `Box`, and the action one number, as `OneNumberEnv` does."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(OneNumberEnv(env) if isinstance(env.action_space, spaces.MultiDiscrete) else env)

    def action_masks(self) -> BoolArray:
        """(m,) bool, m the size of the action space: which actions have an effect."""
        masks: BoolArray = self.env.get_wrapper_attr("action_masks")()
        return masks


class OneNumberVectorEnv(vector.TransformAction):
    """`OneNumberEnv` for vector environments."""

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        self._sizes = _sizes(env.single_action_space)
        one = _numbers(self._sizes)
        super().__init__(env, lambda actions: _parts(actions, self._sizes), single_action_space=one)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, Info]:
        """Begin episodes."""
        observations, infos = super().reset(seed=seed, options=options)
        return observations, _with_numbers(infos, self._sizes)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, Info]:
        """Take one action in every episode."""
        observations, rewards, terminated, truncated, infos = super().step(actions)
        return observations, rewards, terminated, truncated, _with_numbers(infos, self._sizes)

    def action_masks(self) -> BoolArray:
        """(n, m) bool, m the size of one episode's action space: which numbers have an effect."""
        masks: BoolArray = _number_masks(self.env.unwrapped.action_masks(), self._sizes)  # type: ignore[attr-defined]
        return masks


class FlatVectorEnv(vector.FlattenObservation):
    """`FlatEnv` for vector environments. Like every observation wrapper of Gymnasium it refuses SAME_STEP."""

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        several = isinstance(env.single_action_space, spaces.MultiDiscrete)
        super().__init__(OneNumberVectorEnv(env) if several else env)

    def action_masks(self) -> BoolArray:
        """(n, m) bool, m the size of the action space of one episode: which actions have an effect."""
        inner = self.env if isinstance(self.env, OneNumberVectorEnv) else self.env.unwrapped
        masks: BoolArray = inner.action_masks()  # type: ignore[attr-defined]
        return masks


def _sizes(space: Any) -> tuple[int, ...]:
    """The number of values of each part of an action."""
    if not isinstance(space, spaces.MultiDiscrete):
        raise DnRError(f"`env` must have the action space of DnR/RefineSlots-v0 or DnR/RefineEdits-v0 (got {space})")
    return tuple(space.nvec.tolist())


def _numbers(sizes: tuple[int, ...]) -> spaces.Discrete:
    return spaces.Discrete(int(np.prod(sizes)))


def _parts(actions: Any, sizes: tuple[int, ...]) -> IntArray:
    """Take numbers (...) apart: (..., parts)."""
    array, most = np.asarray(actions), int(np.prod(sizes)) - 1
    if not np.issubdtype(array.dtype, np.integer) or (array < 0).any() or (array > most).any():
        raise DnRError(f"an action must be an integer from 0 to {most} (got {actions!r})")
    return np.stack(np.unravel_index(array, sizes), axis=-1)


def _number_masks(masks: BoolArray, sizes: tuple[int, ...]) -> Any:
    """Masks of the parts (..., sum of sizes) to masks of numbers (..., product of sizes), of the same type."""
    actions, slots, *kinds = np.split(masks, np.cumsum(sizes)[:-1], axis=-1)
    allowed = actions[..., None] & slots[..., None, :]
    allowed[..., Action.ADD, 1:] = 0
    if kinds:
        first = np.arange(sizes[2]) == 0
        chosen = np.where(np.arange(len(Action))[:, None] == Action.MUTATE, kinds[0][..., None, :], first)
        allowed = allowed[..., None] & chosen[..., None, :]
    return allowed.reshape(*masks.shape[:-1], -1).astype(masks.dtype)


def _with_numbers(info: Info, sizes: tuple[int, ...]) -> Info:
    """The info with masks of numbers, also in the infos of ended episodes."""
    out = {**info, "action_mask": _number_masks(info["action_mask"], sizes)}
    if "final_info" in info:
        out["final_info"] = _with_numbers(info["final_info"], sizes)
    return out
