"""The native vector environment equals single ones, and Stable-Baselines3 sees it right."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence

from agents.features import COUNT, features
from agents.sb3 import make_vec_env
from dnr_env import Action, DnRError

IDS = ("DnR/Refine-v0", "DnR/RefineSlots-v0")
SMALL: dict[str, Any] = {
    "n_slots": 4, "budget": 25, "max_steps": 6, "user_concepts": "simulated:0.5", "score": "grounded_k",
}  # fmt: skip


def actions(rng: np.random.Generator, n: int, env_id: str) -> Any:
    chosen = rng.choice(4, size=n, p=(0.3, 0.4, 0.2, 0.1))
    return chosen if env_id == IDS[0] else np.column_stack([chosen, rng.integers(4, size=n)])


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("n", [1, 64])
def test_native_equals_sync_step_by_step(env_id: str, n: int) -> None:
    native = gym.make_vec(env_id, num_envs=n, **SMALL)
    sync = gym.make_vec(
        env_id, num_envs=n, vectorization_mode="sync", vector_kwargs={"autoreset_mode": "SameStep"}, **SMALL
    )
    assert native.single_observation_space == sync.single_observation_space
    assert native.single_action_space == sync.single_action_space
    assert data_equivalence(native.reset(seed=7), sync.reset(seed=7), exact=True)
    rng, ended = np.random.default_rng(0), 0
    for _ in range(25):
        action = actions(rng, n, env_id)
        ours, theirs = native.step(action), sync.step(action)
        assert equal(ours, theirs)
        ended += int((ours[2] | ours[3]).sum())
    assert ended > 0


def equal(ours: Any, theirs: Any) -> bool:
    """Exactly the same; `final_obs` holds None where an episode goes on."""
    finals = [result[4].pop("final_obs", []) for result in (ours, theirs)]
    same = all(a is b is None or data_equivalence(a, b, exact=True) for a, b in zip(*finals, strict=True))
    return same and data_equivalence(ours, theirs, exact=True)


@pytest.mark.parametrize("n", [1, 5])
def test_a_row_does_not_depend_on_how_many_there_are(n: int) -> None:
    few = gym.make_vec(IDS[0], num_envs=n, autoreset_mode="Disabled", **SMALL)
    many = gym.make_vec(IDS[0], num_envs=40, autoreset_mode="Disabled", **SMALL)
    a, _ = few.reset(seed=3)
    b, _ = many.reset(seed=3)
    for _ in range(5):
        assert all((a[key] == b[key][:n]).all() for key in a)
        a, ra, *_ = few.step(np.ones(n, int))
        b, rb, *_ = many.step(np.ones(40, int))
        assert (ra == rb[:n]).all()


def test_same_step_reset_keeps_the_last_observation() -> None:
    envs = gym.make_vec(IDS[0], num_envs=3, **{**SMALL, "max_steps": 2})
    observation, _ = envs.reset(seed=0)
    envs.step(np.full(3, Action.MUTATE))
    observation, _, terminated, truncated, infos = envs.step(np.array([Action.MUTATE, Action.STOP, Action.MUTATE]))
    assert terminated.tolist() == [False, True, False]
    assert truncated.tolist() == [True, False, True]
    assert infos["_final_obs"].all()
    for row in range(3):
        assert infos["final_obs"][row]["progress"][0] == 0 or terminated[row]
    assert (observation["progress"][:, 0] == 1).all()
    assert infos["final_info"]["images"].tolist() == [30, 25, 30]
    assert infos["images"].tolist() == [20, 20, 20]


def test_disabled_reset_leaves_ended_episodes_alone() -> None:
    envs = gym.make_vec(IDS[0], num_envs=2, autoreset_mode="Disabled", **SMALL)
    envs.reset(seed=0)
    envs.step(np.array([Action.STOP, Action.MUTATE]))
    observation, rewards, terminated, _, infos = envs.step(np.array([Action.MUTATE, Action.MUTATE]))
    assert rewards[0] == 0
    assert not terminated[0]
    assert infos["images"].tolist() == [20, 30]
    again, _ = envs.reset(seed=[5, None], options={"reset_mask": np.array([True, False])})
    assert again["progress"][0, 0] == 1
    assert (again["scores"][1] == observation["scores"][1]).all()


def test_each_row_its_own_options() -> None:
    envs = gym.make_vec(IDS[0], num_envs=2, **SMALL)
    _, infos = envs.reset(seed=0, options={"each": [{"neuron": "layer1:3"}, {"neuron": "planted:7"}]})
    assert infos["neuron"].tolist() == ["layer1:3", "planted:7"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda envs: envs.step(np.array([0, 9])), "action"),
        (lambda envs: envs.step(np.array([0])), "2, one for each"),
        (lambda envs: envs.step(np.array([0.0, 1.0])), "wrong form"),
        (lambda envs: envs.reset(seed=[1]), "seed: 1 were given"),
        (lambda envs: envs.reset(options={"each": [{}]}), "each"),
    ],
)
def test_bad_calls_change_nothing(call: Any, message: str) -> None:
    envs, twin = (gym.make_vec(IDS[0], num_envs=2, **SMALL) for _ in range(2))
    envs.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(DnRError, match=message):
        call(envs)
    assert data_equivalence(envs.step(np.ones(2, int)), twin.step(np.ones(2, int)), exact=True)


@pytest.mark.parametrize("options", [{"autoreset_mode": "NextStep"}, {"render_mode": "human"}, {"num_envs": 0}])
def test_bad_arguments(options: dict[str, Any]) -> None:
    with pytest.raises(DnRError, match=r"is not known|will do"):
        gym.make_vec(IDS[0], **{"num_envs": 2, **options})


def test_step_before_reset() -> None:
    with pytest.raises(gym.error.ResetNeeded):
        gym.make_vec(IDS[0], num_envs=2).step(np.zeros(2, int))


def test_render_gives_one_picture_an_episode() -> None:
    envs = gym.make_vec(IDS[0], num_envs=2, render_mode="rgb_array", **SMALL)
    envs.reset(seed=0)
    frames = envs.render()
    assert len(frames) == 2
    assert frames[0].ndim == 3
    assert gym.make_vec(IDS[0], num_envs=2).render() is None


def test_stable_baselines_sees_what_it_expects() -> None:
    shim = make_vec_env(3, **{**SMALL, "max_steps": 2})
    shim.seed(4)
    assert shim.reset().shape == (3, COUNT)
    shim.step(np.full(3, Action.MUTATE))
    observation, rewards, dones, infos = shim.step(np.array([Action.MUTATE, Action.STOP, Action.MUTATE]))
    assert dones.all()
    assert not any(info["TimeLimit.truncated"] for info in infos)  # no value is to be added for what cannot follow
    assert [info["episode"]["l"] for info in infos] == [2, 2, 2]
    assert rewards.dtype == np.float32
    assert not (infos[0]["terminal_observation"] == observation[0]).all()
    masks = shim.env_method("action_masks")
    assert len(masks) == 3
    assert masks[0].shape == (4,)


def test_features_do_not_depend_on_words_or_on_slots_beyond_their_rank() -> None:
    envs = gym.make_vec(IDS[0], num_envs=8, **{**SMALL, "n_slots": 6})
    observation, _ = envs.reset(seed=0)
    before = features(observation)
    assert before.shape == (8, COUNT) == (8, 44)
    assert np.isfinite(before).all()
    changed = dict(observation)
    changed["concepts"] = np.zeros((8, 6, 512), np.float32)  # another embedder
    changed["exemplars"] = np.zeros((8, 512), np.float32)
    assert (features(changed) == before).all()
