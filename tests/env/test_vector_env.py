"""The native vector environment equals single ones, and Stable-Baselines3 sees it right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode
from refining import EDITS, IDS, in_form

from dnr_env import Action, DnRError
from dnr_env.agents.learned.features import COUNT, features
from dnr_env.agents.training.vec_env import make_vec_env
from dnr_env.env.vector_env import RefineVectorEnv
from dnr_env.shapes.config import ShapesConfig
from dnr_env.shapes.stack import shapes_stack

SMALL: dict[str, Any] = {
    "n_slots": 4, "budget": 25, "max_steps": 6, "user_concepts": "simulated:0.5", "score": "grounded_k",
}  # fmt: skip


def actions(rng: np.random.Generator, n: int, env_id: str) -> Any:
    chosen = rng.choice(4, size=n, p=(0.3, 0.4, 0.2, 0.1))
    return in_form(chosen, env_id, rng.integers(4, size=n), rng.integers(6, size=n))


def made(num_envs: int, **options: Any) -> RefineVectorEnv:
    """The environment that Gymnasium makes."""
    envs = gym.make_vec(IDS[0], num_envs=num_envs, **{**SMALL, **options})
    assert isinstance(envs, RefineVectorEnv)
    return envs


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("n", [1, 3])
def test_native_equals_sync_step_by_step(env_id: str, n: int, mode: str) -> None:
    native = gym.make_vec(env_id, num_envs=n, autoreset_mode=mode, **SMALL)
    sync = gym.make_vec(env_id, num_envs=n, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **SMALL)
    assert native.single_observation_space == sync.single_observation_space
    assert native.single_action_space == sync.single_action_space
    assert data_equivalence(native.reset(seed=7), sync.reset(seed=7), exact=True)
    rng, ended = np.random.default_rng(0), 0
    for _ in range(14):  # at least one reset of each row
        action = actions(rng, n, env_id)
        ours, theirs = native.step(action), sync.step(action)
        assert equal(ours, theirs)
        ended += int((ours[2] | ours[3]).sum())
    assert ended >= n


@pytest.mark.slow
def test_cold_equals_warm_and_many_equal_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 parallel episodes on an empty store, then the same and single ones on stacks that find everything in it."""
    monkeypatch.setenv("DNR_CACHE_DIR", str(tmp_path))
    env_id, options = EDITS, {**SMALL, "neurons": "planted:0-9", "reward_images": 5}
    stacks = [shapes_stack("shapes", ShapesConfig()) for _ in range(3)]
    cold, warm = (gym.make_vec(env_id, num_envs=64, stack=stack, **options) for stack in stacks[:2])
    singles = {row: gym.make(env_id, stack=stacks[2], **options) for row in (0, 17, 63)}
    rng = np.random.default_rng(0)
    chosen = [actions(rng, 64, env_id) for _ in range(5)]
    results: list[Any] = [[envs.reset(seed=7), *map(envs.step, chosen)] for envs in (cold, warm)]
    first, again = results
    start = first[0][0]
    assert data_equivalence(first, again, exact=True)
    assert stacks[0].lab.counters.measured > 0
    assert stacks[1].lab.counters.measured == 0
    for row, env in singles.items():
        observation, _ = env.reset(seed=7 + row)
        assert all((observation[key] == start[key][row]).all() for key in observation)
        for action, result in zip(chosen, first[1:], strict=True):
            observation, reward, ended, _, info = env.step(action[row])
            many, rewards, terminated, _, infos = result
            assert all((observation[key] == many[key][row]).all() for key in observation)
            assert (reward, ended) == (rewards[row], terminated[row])
            assert all(np.array_equal(info[key], infos[key][row]) for key in info)
            if ended:
                break


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
    for action in (Action.KEEP, Action.MUTATE, Action.KEEP, Action.ADD, Action.KEEP):
        assert all((a[key] == b[key][:n]).all() for key in a)
        a, ra, *_ = few.step(np.full(n, action))
        b, rb, *_ = many.step(np.full(40, action))
        assert (ra == rb[:n]).all()


def test_the_default_autoreset_mode_is_gymnasiums() -> None:
    envs = made(2)
    assert envs.autoreset_mode is envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    for mode in AutoresetMode:
        for given in (mode, mode.value):
            other = RefineVectorEnv(2, autoreset_mode=given, **SMALL)
            assert other.autoreset_mode is other.metadata["autoreset_mode"] is mode


def test_next_step_reset_ignores_the_action_and_has_no_reward() -> None:
    envs = gym.make_vec(IDS[0], num_envs=2, **SMALL)
    envs.reset(seed=0)
    envs.step(np.full(2, Action.MUTATE))
    last, _, terminated, _, infos = envs.step(np.array([Action.STOP, Action.MUTATE]))
    assert terminated.tolist() == [True, False]
    assert last["progress"][0, 0] < 1  # the last observation of the episode, not the first of the next
    first, rewards, terminated, _, again = envs.step(np.array([Action.STOP, Action.MUTATE]))
    assert (rewards[0], terminated.tolist()) == (0, [False, False])
    assert first["progress"][0, 0] == 1
    assert again["images"].tolist() == [0, 0]
    assert "final_obs" not in infos.keys() | again.keys()


def test_the_seeds_can_be_read_back() -> None:
    envs = made(3)
    envs.reset(seed=5)
    assert envs.np_random_seed == (5, 6, 7)
    envs.reset(seed=[1, None, 3])
    assert envs.np_random_seed == (1, 6, 3)
    envs.np_random = tuple(np.random.default_rng(i) for i in range(3))
    assert envs.np_random_seed == (-1, -1, -1)


def test_same_step_reset_keeps_the_last_observation() -> None:
    envs = gym.make_vec(IDS[0], num_envs=3, autoreset_mode="SameStep", **{**SMALL, "max_steps": 2})
    observation, _ = envs.reset(seed=0)
    envs.step(np.full(3, Action.KEEP))
    observation, _, terminated, truncated, infos = envs.step(np.array([Action.KEEP, Action.STOP, Action.MUTATE]))
    assert terminated.all()
    assert not truncated.any()
    assert infos["_final_obs"].all()
    assert [infos["final_obs"][row]["progress"][0] for row in range(3)] == [0, 0.5, 0]
    assert (observation["progress"][:, 0] == 1).all()
    assert infos["final_info"]["images"].tolist() == [10, 5, 5]
    assert infos["images"].tolist() == [0, 0, 0]


def test_disabled_reset_leaves_ended_episodes_alone() -> None:
    envs = made(2, autoreset_mode="Disabled")
    envs.reset(seed=0)
    envs.step(np.array([Action.STOP, Action.KEEP]))
    observation, rewards, terminated, _, infos = envs.step(np.array([Action.KEEP, Action.KEEP]))
    assert rewards[0] == 0
    assert not terminated[0]
    assert infos["images"].tolist() == [0, 10]
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
        (lambda envs: envs.step(np.array([0])), r"`actions` must hold 2 values, one for each episode \(got 1\)"),
        (lambda envs: envs.step(np.array([0.0, 1.0])), "an action must be one integer"),
        (lambda envs: envs.step(1), "an action must be one integer"),
        (lambda envs: envs.reset(seed=[1]), r"`seed` must hold 2 values, one for each episode \(got 1\)"),
        (lambda envs: envs.reset(options={"each": [{}]}), r"`each` must hold 2 values, .* \(got 1\)"),
        (lambda envs: envs.reset(options={"each": [None, None]}), r"`options` must be a mapping .* \(got None\)"),
        (lambda envs: envs.reset(options={"each": [{}, {"neurons": 3}]}), r"`options` must be .* \(got 'neurons'\)"),
        (lambda envs: envs.reset(options={"each": 3}), r"`each` must be a sequence of 2 mappings \(got 3\)"),
        (
            lambda envs: envs.reset(options={"each": [{}, {}], "block": 3}),
            "must name block inside `each`, not beside it",
        ),
        (lambda envs: envs.reset(options={"reset_mask": np.ones(2)}), "`reset_mask` must be an array of 2 bools"),
        (lambda envs: envs.reset(options={"reset_mask": np.ones(3, bool)}), "`reset_mask` must hold 2 values"),
        (lambda envs: envs.reset(options={"neuron": "layer9:3"}), "`neuron` must be one of layer"),
        (lambda envs: envs.reset(options=[]), r"`options` must be a mapping .* \(got \[\]\)"),
    ],
)
def test_bad_calls_change_nothing(call: Any, message: str) -> None:
    envs, twin = (gym.make_vec(IDS[0], num_envs=2, **SMALL) for _ in range(2))
    envs.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(DnRError, match=message):
        call(envs)
    assert data_equivalence(envs.step(np.ones(2, int)), twin.step(np.ones(2, int)), exact=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"autoreset_mode": "Next"}, r"`autoreset_mode` must be one of NextStep.* \(got 'Next'\)"),
        ({"render_mode": "human"}, r"`render_mode` must be one of rgb_array, ansi \(got 'human'\)"),
        ({"num_envs": 0}, r"`num_envs` must be a whole number of at least 1 \(got 0\)"),
        ({"num_envs": True}, r"`num_envs` must be a whole number of at least 1 \(got True\)"),
        ({"num_envs": 2.0}, r"`num_envs` must be a whole number of at least 1 \(got 2.0\)"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DnRError, match=message):
        RefineVectorEnv(**{"num_envs": 2, **SMALL, **options})


def test_numpy_integers_are_numbers() -> None:
    envs = RefineVectorEnv(np.int64(2), **SMALL)  # type: ignore[arg-type]
    assert (envs.num_envs, type(envs.num_envs)) == (2, int)
    a, _ = envs.reset(seed=np.int64(3))  # type: ignore[arg-type]
    b, _ = envs.reset(seed=3)
    assert data_equivalence(a, b, exact=True)


def test_nothing_works_before_the_first_reset() -> None:
    envs = gym.make_vec(IDS[0], num_envs=2, render_mode="ansi", **SMALL)
    mask = {"reset_mask": np.array([True, False])}
    for call in (lambda: envs.step(np.zeros(2, int)), envs.render):
        with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\) first"):
            call()
    with pytest.raises(gym.error.ResetNeeded, match="leave out reset_mask"):
        envs.reset(options=mask)


def test_render_gives_one_picture_an_episode() -> None:
    envs = made(2, render_mode="rgb_array")
    envs.reset(seed=0)
    frames = envs.render()
    assert frames is not None
    assert [isinstance(frame, np.ndarray) and frame.ndim for frame in frames] == [3, 3]
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


def test_stable_baselines_sets_seeds_and_options_of_one_reset() -> None:
    shim = make_vec_env(3, **SMALL)
    for options in ({"neuron": "layer1:3"}, [{"neuron": "layer1:3"}, {}, {"neuron": "planted:7"}]):
        shim.seed(4)
        shim.set_options(options)
        shim.reset()
        envs = shim.groups[0]
        names = [envs.episodes.stack.neurons[neuron] for neuron in envs.episodes.neuron]
        assert envs.np_random_seed == (4, 5, 6)
        wanted = [options] * 3 if isinstance(options, dict) else options
        assert all(name == one.get("neuron", name) for name, one in zip(names, wanted, strict=True))
    shim.reset()  # both were for one reset only
    assert envs.np_random_seed == (4, 5, 6)
    assert [envs.episodes.stack.neurons[neuron] for neuron in envs.episodes.neuron] != names


def test_features_do_not_depend_on_words_or_on_slots_beyond_their_rank() -> None:
    envs = gym.make_vec(IDS[0], num_envs=8, **{**SMALL, "n_slots": 6})
    observation, _ = envs.reset(seed=0)
    before = features(observation)
    assert before.shape == (8, COUNT)
    assert np.isfinite(before).all()
    changed = dict(observation)
    changed["concepts"] = np.zeros((8, 6, 512), np.float32)  # another embedder
    changed["exemplars"] = np.zeros((8, 512), np.float32)
    assert (features(changed) == before).all()
