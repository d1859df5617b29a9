"""The contract of all agents: an episode depends on its job only, in any batch, and its images are counted."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from playing import AGENTS, JOBS, observations, played

from dnr_env import Action, Rules
from dnr_env.agents.base import Agent, State
from dnr_env.evaluation.rollout import rollout

EVERY = pytest.mark.parametrize("name", AGENTS)


@EVERY
def test_an_episode_depends_on_its_job_alone(name: str) -> None:
    agent = AGENTS[name]()
    alone = list(rollout(agent, JOBS, batch=1, user_concepts="simulated:0.5"))
    assert [(e.neuron, e.seed) for e in alone] == JOBS
    assert list(rollout(agent, JOBS, batch=7, user_concepts="simulated:0.5")) == alone
    order = np.random.default_rng(0).permutation(len(JOBS)).tolist()
    shuffled = list(rollout(AGENTS[name](), [JOBS[i] for i in order], batch=64, user_concepts="simulated:0.5"))
    assert shuffled == [alone[i] for i in order]


@EVERY
@pytest.mark.parametrize("deterministic", [True, False])
def test_one_observation_is_a_batch_of_one(name: str, deterministic: bool) -> None:
    together, n = AGENTS[name](), 5
    apart = [AGENTS[name]() for _ in range(n)]
    envs: Any = gym.make_vec(
        f"dnr_env:{together.env_id}",
        num_envs=n,
        autoreset_mode="SameStep",
        neurons="layer4",
        user_concepts=["red star"],
        max_steps=8,
    )
    observation, infos = envs.reset(seed=3)
    state: State | None = None
    states: list[State | None] = [None] * n
    start = np.ones(n, bool)
    for _ in range(20):  # through ends, where another episode begins in the same step
        masks = envs.unwrapped.action_masks()
        together.watch(infos)
        actions, state = together.predict(observation, state, start, deterministic, masks)
        for row, agent in enumerate(apart):
            agent.watch({key: value[row] for key, value in infos.items() if "final" not in key})
            one = {key: value[row] for key, value in observation.items()}
            action, states[row] = agent.predict(one, states[row], start[row], deterministic, masks[row])
            assert np.shape(action) == envs.single_action_space.shape
            assert np.array_equal(action, actions[row])
            assert envs.single_action_space.contains(np.int64(action) if action.ndim == 0 else action)
        observation, _, terminated, truncated, infos = envs.step(actions)
        start = terminated | truncated


@EVERY
def test_images_are_counted_alike_and_planned(name: str) -> None:
    """KEEP draws five images, nothing else draws, rewards charge for all, and the plan's bound holds."""
    for job in JOBS[:4]:
        agent = AGENTS[name]()
        episode, actions = played(agent, job, user_concepts=["red star"])
        keeps = [action[0] == Action.KEEP for action in actions]
        assert episode.steps == len(actions)
        assert episode.images == 5 * sum(keeps) <= 100
        assert sum(action[0] == Action.MUTATE for action in actions) <= (
            24 if agent.mutations is None else agent.mutations
        )
        listed = 8 if agent.initial_concepts is None else agent.initial_concepts
        assert sum(keeps) <= agent.most_measurements(Rules(), listed)
        assert episode.ran_out == (actions[-1][0] != Action.STOP)
        assert [images for images, *_ in episode.curve] == [0, *np.cumsum([5 * keep for keep in keeps])]
        assert episode.total_reward == pytest.approx(episode.curve[-1][1] - 0.00005 * episode.images)


class Counter(Agent):
    """Returns the number of its calls in this episode."""

    state_size = 1

    def act(self, observation: Any, memory: Any, masks: Any, deterministic: bool) -> Any:
        memory += 1
        return memory[:, 0].astype(int)


def test_memory_is_each_episodes_own_and_ends_with_it() -> None:
    seen, agent = observations(3), Counter()
    first, state = agent.predict(seen)
    second, again = agent.predict(seen, state, np.array([False, True, False]))
    third, _ = agent.predict(seen, again)
    assert [first.tolist(), second.tolist(), third.tolist()] == [[1, 1, 1], [2, 1, 2], [3, 2, 3]]
    assert agent.predict(seen, state)[0].tolist() == [2, 2, 2]  # a state that was handed out does not change
