"""Stable-Baselines3 on the native vector environment, and the policy network that takes the slots as a set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from agents.base import Observation
from agents.features import CONTEXT, INCUMBENT_MOVES, PER_SLOT, SLOTS, features, move_masks
from agents.networks import PRESENT
from dnr_env.types import BoolArray, FloatArray
from dnr_env.vector_env import RefineVectorEnv


class FeatureVecEnv(VecEnv):  # type: ignore[misc]
    """`RefineVectorEnv`s as Stable-Baselines3 wants them: features, moves, a list of infos, same-step resets.

    Args:
        groups: `DnR/RefineSlots-v0` in autoreset mode SAME_STEP, whose episodes follow one another.
        moves: what the policy chooses from, as (action, slot).
        see: observations to (n, features).
    """

    def __init__(
        self,
        groups: Sequence[RefineVectorEnv],
        moves: Sequence[tuple[int, int]],
        see: Callable[[Observation], FloatArray],
    ) -> None:
        self.groups = groups
        self.moves = np.array(moves)
        self.see = see
        self.render_mode = groups[0].render_mode
        self._ends = np.cumsum([group.num_envs for group in groups])[:-1]
        """Where the second group's rows begin, and the third's, …"""
        self._chosen: Any = None
        n = sum(group.num_envs for group in groups)
        self._returns = np.zeros(n)
        self._lengths = np.zeros(n, int)
        shape = see(groups[0].refinement.state.observe()).shape[1:]
        super().__init__(n, spaces.Box(-10.0, 10.0, shape, np.float32), spaces.Discrete(len(moves)))

    def reset(self) -> FloatArray:
        """(n, features) of fresh episodes."""
        seen = []
        for group, end in zip(self.groups, np.append(self._ends, self.num_envs), strict=True):
            seeds = self._seeds[end - group.num_envs : end]
            observation, _ = group.reset(seed=seeds)
            seen.append(self.see(observation))
        self._reset_seeds()
        self._returns[:] = 0
        self._lengths[:] = 0
        return np.concatenate(seen)

    def step_async(self, actions: Any) -> None:
        """Keep the moves for `step_wait`."""
        self._chosen = self.moves[actions]

    def step_wait(self) -> tuple[FloatArray, FloatArray, BoolArray, list[dict[str, Any]]]:
        """Features, rewards, dones and infos with SB3's `episode` and `terminal_observation`."""
        seen, gained, ended, finals = [], [], [], []
        for group, chosen in zip(self.groups, np.split(self._chosen, self._ends), strict=True):
            observation, rewards, terminated, truncated, infos = group.step(chosen)
            seen.append(self.see(observation))
            gained.append(rewards)
            ended.append(terminated | truncated)
            finals += list(infos.get("final_obs", [None] * group.num_envs))
        dones = np.concatenate(ended)
        self._returns += np.concatenate(gained)
        self._lengths += 1
        out: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(dones).tolist():
            final = {key: value[None] for key, value in finals[row].items()}
            out[row] = {
                "terminal_observation": self.see(final)[0],
                # Steps and budget left are observed and the label is final: nothing follows whose value could be added.
                "TimeLimit.truncated": False,
                "episode": {"r": float(self._returns[row]), "l": int(self._lengths[row])},
            }
        self._returns[dones] = 0
        self._lengths[dones] = 0
        return np.concatenate(seen), np.concatenate(gained).astype(np.float32), dones, out

    def close(self) -> None:
        """Close the environments."""
        for group in self.groups:
            group.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of the vector environment, for each index."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Episodes share their attributes: not to be set one by one."""
        raise NotImplementedError(f"{attr_name} belongs to all episodes together")

    def action_masks(self) -> BoolArray:
        """(n, moves) which moves have an effect."""
        return move_masks(np.concatenate([group.action_masks() for group in self.groups]), self.moves.tolist())

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Row by row what a method returns; `action_masks` is what MaskablePPO asks for."""
        rows: Sequence[Any] = getattr(self, method_name)(*args, **kwargs)
        return [rows[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Any = None) -> list[bool]:
        """Never."""
        return [False] * len(list(self._get_indices(indices)))


def make_vec_env(
    num_envs: int,
    moves: Sequence[tuple[int, int]] = INCUMBENT_MOVES,
    see: Callable[[Observation], FloatArray] = features,
    groups: Sequence[Mapping[str, Any]] = ({},),
    **env: Any,
) -> FeatureVecEnv:
    """Episodes for Stable-Baselines3.

    Args:
        num_envs: how many side by side, as equally divided among the groups as can be.
        moves: what the policy chooses from.
        see: observations to (n, features).
        groups: arguments of `RefineEnv` that tell one part of the episodes from another.
        **env: those that are the same for all.
    """
    sizes = [len(part) for part in np.array_split(np.arange(num_envs), len(groups))]
    envs = [RefineVectorEnv(size, slots=True, **env, **group) for size, group in zip(sizes, groups, strict=True)]
    return FeatureVecEnv(envs, moves, see)


def seed_episodes(model: BaseAlgorithm) -> None:
    """Seed a learner's next episodes by its seed and the steps that it has done.

    A learner seeds its rows with its seed, the number after it, and so on: those of another seed would be the same.
    """
    entropy = np.random.SeedSequence([model.seed, model.num_timesteps])
    model.env.seed(int(entropy.generate_state(1)[0] >> 1))


_WIDTH = 64


class SetPool(nn.Module):
    """Slots one by one and together, as `agents.networks.SetNetwork` sees them."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = nn.Sequential(nn.Linear(PER_SLOT + CONTEXT, _WIDTH), nn.Tanh(), nn.Linear(_WIDTH, _WIDTH))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, COUNT) to (n, SLOTS, width) and (n, 2 width), mean and maximum over the slots that are present."""
        slots, context = x[:, : SLOTS * PER_SLOT].reshape(-1, SLOTS, PER_SLOT), x[:, SLOTS * PER_SLOT :]
        present = slots[:, :, PRESENT, None] > 0
        hidden = self.slot(torch.cat([slots, context[:, None].expand(-1, SLOTS, -1)], dim=2)).tanh()
        mean = hidden.where(present, 0.0).sum(dim=1) / present.sum(dim=1).clamp(min=1)
        return hidden, torch.cat([mean, hidden.where(present, -1.0).amax(dim=1)], dim=1)


class SetExtractor(nn.Module):
    """All but the last layers of policy and value, in the form that Stable-Baselines3 asks for."""

    latent_dim_pi = (SLOTS + 1) * _WIDTH
    latent_dim_vf = _WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.actor, self.critic = SetPool(), SetPool()
        self.each = nn.Sequential(nn.Linear(3 * _WIDTH, _WIDTH), nn.Tanh())
        self.whole = nn.Sequential(nn.Linear(2 * _WIDTH, _WIDTH), nn.Tanh())
        self.value = nn.Sequential(nn.Linear(2 * _WIDTH, _WIDTH), nn.Tanh())

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both of the others."""
        return self.forward_actor(x), self.forward_critic(x)

    def forward_actor(self, x: torch.Tensor) -> torch.Tensor:
        """(n, COUNT) to (n, latent_dim_pi): a part for each slot, and one for all."""
        hidden, pooled = self.actor(x)
        each = self.each(torch.cat([hidden, pooled[:, None].expand(-1, SLOTS, -1)], dim=2))
        return torch.cat([each.flatten(1), self.whole(pooled)], dim=1)

    def forward_critic(self, x: torch.Tensor) -> torch.Tensor:
        """(n, COUNT) to (n, latent_dim_vf)."""
        latent: torch.Tensor = self.value(self.critic(x)[1])
        return latent


class SetLogits(nn.Module):
    """The last layers: KEEP and MUTATE of each slot, ADD and STOP of all."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.whole = nn.Linear(_WIDTH, 2), nn.Linear(_WIDTH, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, latent_dim_pi) to (n, len(MOVES))."""
        parts = x.reshape(-1, SLOTS + 1, _WIDTH)
        return torch.cat([self.each(parts[:, :-1]).transpose(1, 2).flatten(1), self.whole(parts[:, -1])], dim=1)


class SetPolicy(MaskableActorCriticPolicy):  # type: ignore[misc]
    """MaskablePPO's policy with the same weights for every slot: it chooses from `agents.features.MOVES`."""

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = SetExtractor()

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        super()._build(lr_schedule)
        self.action_net = SetLogits().apply(partial(self.init_weights, gain=0.01))  # as theirs, which it replaces
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)
