"""Other people's libraries see the environment as it is: Gymnasium's wrappers, TorchRL and Minari."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.wrappers import vector
from refining import IDS, in_form

from dnr_env.env.information import Info
from dnr_env.env.observe import SCORE_COLUMNS

SMALL: dict[str, Any] = {"n_slots": 4, "budget": 25, "max_steps": 6, "neurons": "planted:0-9"}
COUNTS = [["red star"], ["red star", "ring", "blue thing"], ["red star", "ring", "star", "huge thing"]]


def actions(rng: np.random.Generator, n: int) -> Any:
    return rng.choice(4, size=n, p=(0.3, 0.3, 0.2, 0.2))


# --- Gymnasium -------------------------------------------------------------------------------------------------------


def test_frames_have_one_size_whatever_the_number_of_candidates() -> None:
    shapes: set[tuple[int, ...]] = set()
    for concepts in COUNTS:
        env = gym.make(IDS[0], render_mode="rgb_array_list", **SMALL)
        env.reset(seed=0, options={"concepts": concepts})
        for action in (1, 0, 1, 3):
            env.step(action)
        frames = env.render()
        assert isinstance(frames, list)
        assert len(frames) == 5
        for frame in frames:
            assert isinstance(frame, np.ndarray)
            shapes.add(frame.shape)
    assert len(shapes) == 1


def test_videos_are_recorded(tmp_path: Path) -> None:
    pytest.importorskip("moviepy", reason="Gymnasium writes videos with moviepy")
    folder, inner = tmp_path / "videos", gym.make(IDS[0], render_mode="rgb_array", **SMALL)
    env: gym.Env[Any, Any] = wrappers.RecordVideo(inner, str(folder), lambda episode: True)
    for seed, concepts in enumerate(COUNTS):
        env.reset(seed=seed, options={"concepts": concepts})
        for action in (1, 3):
            env.step(action)
    env.close()
    assert len(list(folder.glob("*.mp4"))) == len(COUNTS)


def test_episode_statistics_of_one_environment_are_true() -> None:
    env = wrappers.RecordEpisodeStatistics(gym.make(IDS[0], **SMALL))
    rng = np.random.default_rng(0)
    for seed in range(6):
        env.reset(seed=seed)
        rewards, ended = [], False
        while not ended:
            _, reward, ended, _, info = env.step(actions(rng, 1)[0])
            rewards.append(float(reward))
        assert info["episode"]["r"] == pytest.approx(sum(rewards))
        assert info["episode"]["l"] == len(rewards)


def test_episode_statistics_of_many_environments_are_true() -> None:
    """In NEXT_STEP, the default. Those of SAME_STEP are right since Gymnasium 1.4."""
    envs = vector.RecordEpisodeStatistics(gym.make_vec(IDS[0], num_envs=5, **SMALL))
    singles = [gym.make(IDS[0], **SMALL) for _ in range(5)]
    envs.reset(seed=3)
    for i, single in enumerate(singles):
        single.reset(seed=3 + i)
    rng = np.random.default_rng(0)
    rewards: list[list[float]] = [[] for _ in singles]
    over = [False] * 5
    checked = 0
    for _ in range(30):
        chosen = actions(rng, 5)
        infos = envs.step(chosen)[4]
        for i, single in enumerate(singles):
            if over[i]:
                single.reset()
                rewards[i], over[i] = [], False
                continue
            _, reward, over[i], _, _ = single.step(chosen[i])
            rewards[i].append(float(reward))
            if over[i]:
                assert infos["_episode"][i]
                assert infos["episode"]["r"][i] == pytest.approx(sum(rewards[i]))
                assert infos["episode"]["l"][i] == len(rewards[i])
                checked += 1
    assert checked > 10
    assert envs.episode_count == checked


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize(
    "wrap",
    [
        vector.FlattenObservation,
        lambda envs: vector.FilterObservation(envs, ["scores", "progress"]),
        lambda envs: vector.TransformObservation(envs, lambda observation: observation),
        lambda envs: vector.NormalizeObservation(vector.FlattenObservation(envs)),
        vector.NormalizeReward,
        vector.DictInfoToList,
    ],
    ids=["flatten", "filter", "transform", "normalise", "reward", "list"],
)
def test_vector_wrappers_accept_the_environment(env_id: str, wrap: Any) -> None:
    envs = wrap(gym.make_vec(env_id, num_envs=3, **SMALL))
    envs.reset(seed=0)
    envs.action_space.seed(0)
    for _ in range(8):
        observation, *_ = envs.step(envs.action_space.sample())
        assert envs.observation_space.contains(observation) or isinstance(envs, vector.NormalizeObservation)


def shape_of(value: Any) -> Any:
    """What a recorder has to know to stack a value."""
    return (value.shape, value.dtype) if isinstance(value, np.ndarray) else (type(value), np.shape(value))


@pytest.mark.parametrize("env_id", IDS)
def test_info_keeps_its_shape(env_id: str) -> None:
    env = gym.make(env_id, user_concepts=["blue ring", "red star"], **SMALL)
    shapes: list[dict[str, Any]] = []

    def note(info: Info) -> None:
        shapes.append({key: shape_of(value) for key, value in info.items()})

    for seed, concepts in enumerate(COUNTS):
        note(env.reset(seed=seed, options={"concepts": concepts})[1])
        for action in (2, 0, 1, 2):
            note(env.step(in_form(action, env_id))[4])
    assert all(one == shapes[0] for one in shapes)


# --- TorchRL ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
def test_torchrl_rolls_out(env_id: str) -> None:
    pytest.importorskip("torchrl", reason="TorchRL is not installed")
    from torchrl.envs.libs.gym import GymEnv
    from torchrl.envs.utils import check_env_specs

    env = GymEnv(f"dnr_env:{env_id}", **SMALL)
    check_env_specs(env)
    steps = env.rollout(20, break_when_any_done=False)
    assert steps.shape == (20,)
    assert (steps["next", "terminated"] == steps["next", "done"]).all()
    assert steps["next", "terminated"].any()
    assert steps["next", "scores"].shape == (20, 4, len(SCORE_COLUMNS))


# --- Minari ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")  # Minari leaves that to its destructor
def test_minari_collects_episodes_with_their_infos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("minari", "jax", "h5py"):
        pytest.importorskip(package, reason="Minari collects with jax and h5py")
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = minari.DataCollector(gym.make(f"dnr_env:{IDS[0]}", **SMALL), record_infos=True)
    rng = np.random.default_rng(0)
    seen: list[list[Info]] = []
    for seed in range(3):
        infos, ended = [env.reset(seed=seed)[1]], False
        while not ended:
            _, _, ended, _, info = env.step(actions(rng, 1)[0])
            infos.append(info)
        seen.append(infos)
    data = env.create_dataset(
        "dnr/random-v0",
        algorithm_name="random",
        author="A",
        author_email="a@b.c",
        code_permalink="https://example.org",
        description="Random actions.",
        eval_env=gym.make(IDS[0], **SMALL),
    )
    assert data.total_episodes == 3
    for episode, infos in zip(data.iterate_episodes(), seen, strict=True):
        assert len(episode.rewards) == len(infos) - 1
        assert [text.decode() for text in episode.infos["label"]] == [info["label"] for info in infos]
        assert [text.decode() for text in episode.infos["master"]["_index_1"]] == [info["master"][1] for info in infos]
        for key in (
            "master_means",
            "master_deviations",
            "master_images",
            "activations",
            "images",
            "usage",
            "action_mask",
        ):
            assert data_equivalence(episode.infos[key], np.array([info[key] for info in infos]), exact=True)
