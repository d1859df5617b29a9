"""Behaviour cloning: before reinforcement learning, a policy learns the moves and the returns of a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from dnr_env.agents.base import Agent, State
from dnr_env.agents.human.recorded import logs_in, recorded
from dnr_env.agents.learned.features import move_masks
from dnr_env.agents.learned.policy import ENVIRONMENTS
from dnr_env.agents.registry import make_agent
from dnr_env.agents.training.vec_env import SCALE, FeatureVecEnv
from dnr_env.env.rules import Action, ActionForm
from dnr_env.env.vector_env import RefineVectorEnv
from dnr_env.errors import DnRError
from dnr_env.interfaces import Kind
from dnr_env.types import BoolArray, FloatArray, IntArray

_LESSONS = 20_000
_EPOCHS = 10
_UPDATES = 390  # the fewest, as many as ten epochs of that many lessons have
_BATCH = 512
_RATE = 1e-3


@dataclass(frozen=True)
class Lessons:
    """Steps of a teacher, in the form in which a policy sees them."""

    seen: FloatArray  # (n, features)
    masks: BoolArray  # (n, moves)
    moves: IntArray  # (n,)
    returns: FloatArray  # (n,) discounted


def teacher_of(spec: str, form: ActionForm) -> Agent:
    """Make the agent that a policy can be cloned from.

    Raises:
        DnRError: There is no such agent, or its episodes differ from those of the policy.
    """
    teacher = make_agent(spec)
    if not teacher.plays or teacher.env_id != ENVIRONMENTS[form]:
        plays = teacher.env_id if teacher.plays else "no episodes"
        raise DnRError(f"`clone` must be an agent that plays {ENVIRONMENTS[form]} (got {spec!r}, which plays {plays})")
    if type(teacher).prepare is not Agent.prepare or teacher.env_options.keys() - {"mutator"}:
        raise DnRError(
            f"`clone` must be an agent without initial concepts or environment options of its own (got {spec!r})"
        )
    return teacher


def clone(model: BaseAlgorithm, spec: str) -> None:
    """Train a MaskablePPO model on the steps of an agent in the model's environments, or of people in their sessions.

    Raises:
        DnRError: Less than half of the agent's steps are moves of the policy, or the sessions have none.
    """
    if is_sessions(spec):
        lessons = read(spec, model.env, model.gamma)
    else:
        lessons = watch(spec, model.env, model.gamma, model.seed)
        if 2 * len(lessons.moves) < _LESSONS:
            share = len(lessons.moves) / _LESSONS
            raise DnRError(
                f"`clone` must be an agent most of whose steps are moves of the policy (got {spec!r}, with {share:.0%})"
            )
    seen, moves, returns = map(torch.as_tensor, (lessons.seen, lessons.moves, lessons.returns))
    optimizer = torch.optim.Adam(model.policy.parameters(), _RATE)  # PPO's own optimizer starts afterwards
    batches = -(-len(moves) // _BATCH)
    for _ in range(max(_EPOCHS, _UPDATES // batches)):
        for rows in torch.split(torch.randperm(len(moves)), _BATCH):
            values, likelihood, _ = model.policy.evaluate_actions(seen[rows], moves[rows], lessons.masks[rows.numpy()])
            loss = torch.nn.functional.mse_loss(values[:, 0], returns[rows]) - likelihood.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def is_sessions(spec: str) -> bool:
    """Whether a text names a log of a session, or a folder of them, and no agent."""
    return Path(spec).expanduser().suffix == ".jsonl" or bool(list(Path(spec).expanduser().glob("*.jsonl")))


def read(spec: str, envs: FeatureVecEnv, gamma: float) -> Lessons:
    """The steps of people for neurons that they have labelled. What a policy cannot do, such as ADD, is left out.

    Raises:
        DnRError: There is none, or a log cannot be used.
    """
    episodes = [one for path in logs_in(spec) for one in recorded(path) if one.label and len(one.actions)]
    parts = []
    for one in episodes:
        seen = envs.see({key: values[:-1] for key, values in one.observations.items()})
        masks, places = move_masks(one.masks[:-1], envs.moves), places_of(one.actions, envs.moves)
        returns = discounted(SCALE * one.rewards[:, None], np.arange(1, len(places) + 1)[:, None] == len(places), gamma)
        known = (places >= 0) & masks[np.arange(len(places)), places]
        parts.append(Lessons(seen[known], masks[known], places[known], returns[known, 0].astype(np.float32)))
    if not sum(len(part.moves) for part in parts):
        raise DnRError(f"`clone` must be sessions with a labelled neuron (got {spec!r})")
    return Lessons(*(np.concatenate([getattr(part, name) for part in parts]) for name in Lessons.__annotations__))


def watch(spec: str, envs: FeatureVecEnv, gamma: float, seed: int) -> Lessons:
    """Record about twenty thousand steps of an agent.

    Steps that are not moves of the policy are left out, and so are the steps of unfinished episodes.
    """
    steps = -(-_LESSONS // envs.num_envs)
    parts = [_play(spec, group, envs, steps, gamma, (seed, i)) for i, group in enumerate(envs.groups)]
    return Lessons(*(np.concatenate([getattr(part, name) for part in parts]) for name in Lessons.__annotations__))


def _play(
    spec: str, group: RefineVectorEnv, envs: FeatureVecEnv, steps: int, gamma: float, seed: tuple[int, int]
) -> Lessons:
    teacher, n = teacher_of(spec, envs.form), group.num_envs
    seeds = (np.random.SeedSequence(seed).generate_state(n) >> 1).tolist()
    observation, infos = group.reset(seed=seeds)
    state: State | None = teacher.start(seeds)
    start = np.ones(n, bool)
    seen, masks, moves, rewards, ends = [], [], [], [], []
    for _ in range(steps):
        teacher.watch(infos)
        allowed = group.action_masks()
        actions, state = teacher.predict(observation, state, start, True, allowed)
        seen.append(envs.see(observation))
        masks.append(move_masks(allowed, envs.moves))
        moves.append(places_of(actions, envs.moves))
        observation, reward, start, _, infos = group.step(actions)
        rewards.append(SCALE * reward)
        ends.append(start)
    returns = discounted(np.stack(rewards), np.stack(ends), gamma)
    place, mask = np.stack(moves), np.stack(masks)
    known = np.isfinite(returns) & (place >= 0) & np.take_along_axis(mask, place[..., None], axis=2)[..., 0]
    return Lessons(np.stack(seen)[known], mask[known], place[known], returns[known].astype(np.float32))


def places_of(actions: IntArray, moves: IntArray) -> IntArray:
    """Convert actions (n, parts) of the environment to indices of moves (n,), or -1 if there is no such move."""
    said = actions.reshape(len(actions), -1).copy()
    said[said[:, 0] != Action.MUTATE, 2:] = 0  # of no kind
    said[(said[:, 0] == Action.ADD) | (said[:, 2:] == Kind.MODEL).any(axis=1), 1:2] = 0  # for no slot
    same = (moves == said[:, None]).all(axis=2)
    return np.where(same.any(axis=1), same.argmax(axis=1), -1)


def discounted(rewards: FloatArray, ends: BoolArray, gamma: float) -> FloatArray:
    """Compute the discounted returns (steps, n). They are NaN in episodes whose end was not seen."""
    returns = np.full((len(rewards) + 1, rewards.shape[1]), np.nan)
    for step in reversed(range(len(rewards))):
        returns[step] = rewards[step] + np.where(ends[step], 0, gamma * returns[step + 1])
    return returns[:-1]
