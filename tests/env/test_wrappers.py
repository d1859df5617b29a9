"""The package's wrappers: flat observations, one-number actions and their masks, for one and for many episodes."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence
from refining import EDITS, IDS, ONE, SLOTS, WordByWord, with_mutator
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3 import PPO
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor

from dnr_env import DnRError
from dnr_env.env.wrappers import FlatEnv, FlatVectorEnv, OneNumberEnv, OneNumberVectorEnv
from dnr_env.stack import Stack

SEVERAL = (SLOTS, EDITS)
SMALL: dict[str, Any] = {"n_slots": 3, "budget": 25, "max_steps": 6, "neurons": "planted:0-5"}
CONCEPTS = {"concepts": ["red thing", "star"]}  # of three slots, one is empty


@pytest.mark.parametrize("env_id", IDS)
def test_both_checkers_pass(env_id: str) -> None:
    env = FlatEnv(gym.make(env_id, **SMALL).unwrapped)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version.*")
        check_env(env, skip_render_check=True)
    check_env_sb3(env)


@pytest.mark.parametrize("env_id", IDS)
def test_specification_round_trip(env_id: str) -> None:
    env = FlatEnv(gym.make(env_id, **SMALL))
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert isinstance(again, FlatEnv)
    assert again.action_space == env.action_space
    assert data_equivalence(env.reset(seed=1), again.reset(seed=1), exact=True)


@pytest.mark.parametrize("env_id", SEVERAL)
def test_a_number_stands_for_an_action_a_slot_and_a_kind(env_id: str) -> None:
    sizes = (4, 3, 6)[: 1 + IDS.index(env_id)]
    flat, plain = OneNumberEnv(gym.make(env_id, **SMALL)), gym.make(env_id, **SMALL)
    assert flat.action_space == spaces.Discrete(int(np.prod(sizes)))
    for number, parts in enumerate(np.ndindex(sizes)):
        flat.reset(seed=0, options=CONCEPTS)
        plain.reset(seed=0, options=CONCEPTS)
        ours, theirs = flat.step(np.int64(number)), plain.step(np.array(parts))
        for info in (ours[4], theirs[4]):
            info.pop("action_mask")
        assert data_equivalence(ours, theirs, exact=True)


def test_the_flat_observation_is_gymnasiums() -> None:
    flat, plain = FlatEnv(gym.make(ONE, **SMALL)), gym.make(ONE, **SMALL)
    a, _ = flat.reset(seed=0)
    b, _ = plain.reset(seed=0)
    assert isinstance(flat.observation_space, spaces.Box)
    assert (a == spaces.flatten(plain.observation_space, b)).all()
    assert flat.action_space == plain.action_space


@pytest.mark.parametrize("wrapper", [OneNumberEnv, FlatEnv])
@pytest.mark.parametrize("env_id", SEVERAL)
@pytest.mark.parametrize("users", [[], ["blue ring"]])
@pytest.mark.parametrize("budget", [0, 25])
def test_masks_allow_one_number_for_each_thing_to_do(
    stack: Stack, env_id: str, wrapper: Any, users: list[str], budget: int
) -> None:
    """What happened is what the mutator and the user were asked, what was drawn and what was named, never twice."""
    mutator = WordByWord()
    options = {**SMALL, "user_concepts": users, "budget": budget, "reward": "none"}
    env = wrapper(gym.make(env_id, stack=with_mutator(stack, mutator), **options))
    done = []
    for number in range(env.action_space.n):
        _, info = env.reset(seed=0, options=CONCEPTS)
        assert (env.action_masks() == info["action_mask"]).all()
        assert (get_action_masks(env) == info["action_mask"]).all()  # as MaskablePPO finds them
        if not info["action_mask"][number]:
            continue
        mutator.batches.clear()
        _, _, ended, _, after = env.step(number)
        assert not after["message"]
        asked = [(batch.concepts[0], batch.kinds[0]) for batch in mutator.batches]
        drawn, named = after["master_images"].tolist(), after["label"] if ended else ""
        done.append(str((asked, drawn, named, after["master"])))
    kinds = 4 if env_id == EDITS else 1
    assert len(set(done)) == len(done) == 2 * bool(budget) + 2 * kinds + len(users) + 2


@pytest.mark.parametrize("env_id", SEVERAL)
def test_masked_sampling_always_has_an_effect(env_id: str) -> None:
    env = FlatEnv(gym.make(env_id, **SMALL, user_concepts=["blue ring"]))
    env.action_space.seed(0)
    for seed in range(4):
        _, info = env.reset(seed=seed, options=CONCEPTS)
        ended = False
        while not ended:
            assert info["action_mask"].dtype == np.int8
            action = env.action_space.sample(mask=info["action_mask"])
            _, _, ended, _, info = env.step(action)
            assert "no effect" not in info["message"]


@pytest.mark.parametrize("env_id", IDS)
def test_the_vector_form_equals_single_ones(env_id: str) -> None:
    envs = FlatVectorEnv(gym.make_vec(env_id, num_envs=3, **SMALL))
    singles = [FlatEnv(gym.make(env_id, **SMALL)) for _ in range(3)]
    assert envs.single_observation_space == singles[0].observation_space
    assert envs.single_action_space == singles[0].action_space
    observation, infos = envs.reset(seed=4)
    starts = [single.reset(seed=4 + i) for i, single in enumerate(singles)]
    assert (observation == np.stack([start for start, _ in starts])).all()
    envs.action_space.seed(0)
    for _ in range(3):
        assert (envs.action_masks() == infos["action_mask"]).all()
        actions = envs.action_space.sample(mask=tuple(infos["action_mask"]))
        observation, rewards, terminated, _, infos = envs.step(actions)
        for i, single in enumerate(singles):
            a, reward, ended, _, info = single.step(actions[i])
            assert (a == observation[i]).all()
            assert (reward, ended) == (rewards[i], terminated[i])
            assert (info["action_mask"] == infos["action_mask"][i]).all()
        if terminated.any():
            break


@pytest.mark.parametrize("env_id", SEVERAL)
def test_masks_of_ended_episodes_are_of_numbers_too(env_id: str) -> None:
    envs = OneNumberVectorEnv(gym.make_vec(env_id, num_envs=2, autoreset_mode="SameStep", **SMALL))
    most = int(envs.single_action_space.n)  # type: ignore[attr-defined]
    envs.reset(seed=0)
    *_, infos = envs.step(np.array([most - 1, 0]))
    assert infos["final_info"]["action_mask"].shape == infos["action_mask"].shape == (2, most)
    assert (envs.action_masks() == infos["action_mask"]).all()


@pytest.mark.parametrize(("env_id", "most"), [(SLOTS, 11), (EDITS, 71)])
@pytest.mark.parametrize("action", [72, -1, 1.0, True, "keep", [1, 2, 3.5]])
def test_a_number_out_of_range_changes_nothing(env_id: str, most: int, action: Any) -> None:
    env, twin = (OneNumberEnv(gym.make(env_id, **SMALL).unwrapped) for _ in range(2))
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(DnRError, match=f"an action must be an integer from 0 to {most}"):
        env.step(action)
    assert data_equivalence(env.step(1), twin.step(1), exact=True)


def test_an_action_that_is_one_number_already_is_refused() -> None:
    for made in (lambda: OneNumberEnv(gym.make(ONE)), lambda: OneNumberVectorEnv(gym.make_vec(ONE, num_envs=2))):
        with pytest.raises(DnRError, match=r"`env` must have the action space of DnR/RefineSlots-v0 or .* \(got .*4"):
            made()


@pytest.mark.parametrize("env_id", IDS)
def test_stable_baselines_sees_a_terminal_state_as_terminal(env_id: str) -> None:
    """Running out of steps ends an episode, so that PPO adds no value of what cannot follow to the reward."""
    earned: list[float] = []
    ends: list[bool] = []

    class Recorder(gym.Wrapper[Any, Any, Any, Any]):
        def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
            observation, reward, terminated, truncated, info = super().step(action)
            earned.append(float(reward))
            ends.append(terminated)
            return observation, reward, terminated, truncated, info

    envs = make_vec_env(lambda: Recorder(FlatEnv(gym.make(env_id, **{**SMALL, "max_steps": 2}))), n_envs=1, seed=0)
    assert envs.env_is_wrapped(Monitor) == [True]
    model = PPO("MlpPolicy", envs, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu")
    model.learn(32)
    assert sum(ends) >= 16
    assert model.rollout_buffer.rewards[:, 0].tolist() == pytest.approx(earned)
    assert model.rollout_buffer.episode_starts[1:, 0].tolist() == ends[:-1]
