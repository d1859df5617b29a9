"""The environments for Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import numpy as np
from trainings import options

from dnr_env.agents.learned.features import INCUMBENT_MOVES
from dnr_env.agents.training import train
from dnr_env.agents.training.vec_env import make_vec_env

SMALL: dict[str, Any] = {"neurons": "layer4:0-5", "n_slots": 4, "max_steps": 6}


def test_groups_play_as_they_would_alone() -> None:
    groups: list[dict[str, Any]] = [
        {"image_cost": 0.0, "budget": 10},
        {"image_cost": 0.01},
        {"user_concepts": "simulated:0.5"},
    ]
    together = make_vec_env(7, INCUMBENT_MOVES, groups=groups, **SMALL)
    apart = [make_vec_env(n, INCUMBENT_MOVES, **SMALL, **group) for n, group in zip((3, 2, 2), groups, strict=True)]
    together.seed(5)
    for first, one in zip((0, 3, 5), apart, strict=True):
        one.seed(5 + first)
    assert (together.reset() == np.concatenate([one.reset() for one in apart])).all()
    rng, ended = np.random.default_rng(0), 0
    for _ in range(12):
        moves = rng.choice(4, size=7, p=(0.3, 0.4, 0.2, 0.1))
        assert (together.action_masks() == np.concatenate([one.action_masks() for one in apart])).all()
        ours = together.step(moves)
        theirs = [one.step(part) for one, part in zip(apart, np.split(moves, [3, 5]), strict=True)]
        for i in range(3):
            assert (ours[i] == np.concatenate([step[i] for step in theirs])).all()
        for mine, his in zip(ours[3], [info for step in theirs for info in step[3]], strict=True):
            assert mine.keys() == his.keys()
            assert not mine or (mine["terminal_observation"] == his["terminal_observation"]).all()
            assert mine.get("episode") == his.get("episode")
        ended += int(ours[2].sum())
    assert ended > 3


def test_no_two_groups_have_the_same_dice() -> None:
    envs = make_vec_env(8, INCUMBENT_MOVES, groups=[{}, {}], **{**SMALL, "neurons": "train"})
    envs.seed(0)
    first = envs.reset()
    assert len(np.unique(first, axis=0)) == 8


def test_no_two_trainings_begin_with_the_same_episodes() -> None:
    first, second, again = (train.make_model(options(neurons="train"), seed=seed).env.reset() for seed in (0, 1, 0))
    assert (first == again).all()
    assert not {row.tobytes() for row in first} & {row.tobytes() for row in second}
