"""The environments for Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from trainings import options

from dnr_env.agents.learned.features import MOVE_SETS
from dnr_env.agents.training import train
from dnr_env.agents.training.vec_env import SCALE, make_vec_env
from dnr_env.env.rules import FORMS, Action, ActionForm
from dnr_env.env.vector_env import RefineVectorEnv

SMALL: dict[str, Any] = {"neurons": "layer4:0-5", "n_slots": 4, "max_steps": 6}


def test_groups_play_as_they_would_alone() -> None:
    groups: list[dict[str, Any]] = [
        {"image_cost": 0.0, "budget": 10},
        {"image_cost": 0.01},
        {"user_concepts": "simulated:0.5"},
    ]
    together = make_vec_env(7, "incumbent", groups=groups, **SMALL)
    apart = [make_vec_env(n, "incumbent", **SMALL, **group) for n, group in zip((3, 2, 2), groups, strict=True)]
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
    envs = make_vec_env(8, "incumbent", groups=[{}, {}], **{**SMALL, "neurons": "train"})
    envs.seed(0)
    first = envs.reset()
    assert len(np.unique(first, axis=0)) == 8


def test_no_two_trainings_begin_with_the_same_episodes() -> None:
    first, second, again = (train.make_model(options(neurons="train"), seed=seed).env.reset() for seed in (0, 1, 0))
    assert (first == again).all()
    assert not {row.tobytes() for row in first} & {row.tobytes() for row in second}


@pytest.mark.parametrize("form", FORMS)
def test_moves_are_actions_and_rewards_are_scaled(form: ActionForm) -> None:
    ours = make_vec_env(4, form, **SMALL)
    theirs = RefineVectorEnv(4, "SameStep", actions=form, **SMALL)
    ours.seed(3)
    ours.reset()
    theirs.reset(seed=[3, 4, 5, 6])
    moves, returns, rng = MOVE_SETS[form], np.zeros(4), np.random.default_rng(0)
    ends = 0
    for _ in range(14):
        allowed = ours.action_masks()
        listed = theirs.episodes.state.size.copy()
        chosen = np.array([rng.choice(np.flatnonzero(row)) for row in allowed])
        _, rewards, dones, infos = ours.step(chosen)
        _, paid, ended, _, _ = theirs.step(moves[chosen, 0] if form == "incumbent" else moves[chosen])
        assert rewards == pytest.approx(SCALE * paid, abs=1e-5)
        assert (dones == ended).all()
        returns += paid
        for row in np.flatnonzero(dones).tolist():
            assert infos[row]["episode"]["r"] == pytest.approx(returns[row])
            ends += 1
        returns[dones] = 0
        stops = allowed[:, moves[:, 0] == Action.STOP]
        assert (stops == (np.arange(stops.shape[1]) < np.minimum(listed, SMALL["n_slots"])[:, None])).all()
    assert ends > 3
