"""Behaviour cloning: a policy learns a teacher's moves, and what they are worth, before it learns by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from agents import make_agent
from agents.base import Agent, State
from agents.features import move_masks
from agents.loops import SLOTS_ID
from agents.sb3 import FeatureVecEnv
from dnr_env.episode import Action
from dnr_env.errors import DnRError
from dnr_env.types import BoolArray, FloatArray, IntArray
from dnr_env.vector_env import RefineVectorEnv

_LESSONS = 20_000
_EPOCHS = 10
_BATCH = 512


@dataclass(frozen=True)
class Lessons:
    """Steps of a teacher, as a policy would see them."""

    seen: FloatArray  # (n, features)
    masks: BoolArray  # (n, moves)
    moves: IntArray  # (n,)
    returns: FloatArray  # (n,) discounted, of that step and those that followed


def teacher_of(spec: str) -> Agent:
    """The agent that a text names.

    Raises:
        DnRError: there is none, it plays no episode, or it needs more than an episode shows.
    """
    teacher = make_agent(spec)
    if not teacher.plays:
        raise DnRError(f"clone: {spec!r} plays no episode; name a loop such as patience:2")
    if type(teacher).prepare is not Agent.prepare or teacher.env_options.keys() - {"mutator"}:
        raise DnRError(
            f"clone: {spec!r} cannot be cloned, since its episodes are not the policy's; name a loop such as patience:2"
        )
    return teacher


def clone(model: BaseAlgorithm, spec: str, learning_rate: float) -> None:
    """Let a MaskablePPO model learn from an agent that plays in the model's environments, with their mutator.

    Raises:
        DnRError: most of what the agent does is no move of the policy's.
    """
    lessons = watch(spec, model.env, model.gamma, model.seed)
    if 2 * len(lessons.moves) < _LESSONS:
        share = len(lessons.moves) / _LESSONS
        raise DnRError(
            f"clone: only {share:.0%} of the steps of {spec!r} are moves of the policy; another agent will do"
        )
    seen, moves, returns = map(torch.as_tensor, (lessons.seen, lessons.moves, lessons.returns))
    optimizer = torch.optim.Adam(model.policy.parameters(), learning_rate)  # PPO's own begins after this
    for _ in range(_EPOCHS):
        for rows in torch.split(torch.randperm(len(moves)), _BATCH):
            values, likelihood, _ = model.policy.evaluate_actions(seen[rows], moves[rows], lessons.masks[rows.numpy()])
            loss = torch.nn.functional.mse_loss(values[:, 0], returns[rows]) - likelihood.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def watch(spec: str, envs: FeatureVecEnv, gamma: float, seed: int) -> Lessons:
    """About twenty thousand steps of an agent.

    Not those that are no moves of the policy's, nor the last, of episodes that were not played to their ends.
    """
    steps = -(-_LESSONS // envs.num_envs)
    parts = [_play(spec, group, envs, steps, gamma, (seed, i)) for i, group in enumerate(envs.groups)]
    return Lessons(*(np.concatenate([getattr(part, name) for part in parts]) for name in Lessons.__annotations__))


def _play(
    spec: str, group: RefineVectorEnv, envs: FeatureVecEnv, steps: int, gamma: float, seed: tuple[int, int]
) -> Lessons:
    teacher, n = teacher_of(spec), group.num_envs
    seeds = (np.random.SeedSequence(seed).generate_state(n) >> 1).tolist()
    observation, infos = group.reset(seed=seeds)
    state: State | None = teacher.start(seeds)
    start = np.ones(n, bool)
    seen, masks, moves, rewards, ends = [], [], [], [], []
    for _ in range(steps):
        teacher.watch(infos)
        allowed = group.action_masks()
        if teacher.env_id == SLOTS_ID:
            actions, state = teacher.predict(observation, state, start, True, allowed)
        else:
            chosen, state = teacher.predict(observation, state, start, True, allowed[:, : len(Action)])
            actions = np.column_stack([chosen, np.zeros(n, int)])
        seen.append(envs.see(observation))
        masks.append(move_masks(allowed, envs.moves.tolist()))
        moves.append(_places(actions, envs.moves))
        observation, reward, terminated, truncated, infos = group.step(actions)
        start = terminated | truncated
        rewards.append(reward)
        ends.append(start)
    returns = discounted(np.stack(rewards), np.stack(ends), gamma)
    place, mask = np.stack(moves), np.stack(masks)
    known = np.isfinite(returns) & (place >= 0) & np.take_along_axis(mask, place[..., None], axis=2)[..., 0]
    return Lessons(np.stack(seen)[known], mask[known], place[known], returns[known].astype(np.float32))


def _places(actions: IntArray, moves: IntArray) -> IntArray:
    """(n, 2) actions and slots to (n,) their places among the moves, -1 for those that are not among them."""
    slots = np.where(actions[:, 0] == Action.ADD, 0, actions[:, 1])  # which makes no difference to ADD
    same = (moves == np.column_stack([actions[:, 0], slots])[:, None]).all(axis=2)
    return np.where(same.any(axis=1), same.argmax(axis=1), -1)


def discounted(rewards: FloatArray, ends: BoolArray, gamma: float) -> FloatArray:
    """(steps, n) what each step and those after it in its episode came to; NaN where the end was not seen."""
    returns = np.full((len(rewards) + 1, rewards.shape[1]), np.nan)
    for step in reversed(range(len(rewards))):
        returns[step] = rewards[step] + np.where(ends[step], 0, gamma * returns[step + 1])
    return returns[:-1]
