"""Views of an episode: one scale for all estimates, and nothing drawn where nothing was drawn."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnr_env.env.refine_env import RefineEnv
from dnr_env.env.viewer import Candidate, View, picture, text, view


def begun() -> RefineEnv:
    env = gym.make("dnr_env:DnR/RefineSlots-v0", neurons="layer4:3", n_slots=4).unwrapped
    assert isinstance(env, RefineEnv)
    env.reset(seed=0)
    return env


def candidate(mean: float, deviation: float, images: int = 0) -> Candidate:
    drawn = np.zeros((min(images, 5), 64, 64, 3), np.uint8)
    return Candidate("red ring", mean, deviation, mean, 0.4, 0.6, images, False, drawn, np.ones(len(drawn), np.float32))


def view_of(*candidates: Candidate) -> View:
    exemplars = np.zeros((8, 64, 64, 3), np.uint8)
    return View("layer4:3", "log_k", list(candidates), lambda: exemplars, 1, 24, 5, 100, 0, "", 4)


def test_a_candidate_has_pictures_once_it_is_drawn() -> None:
    env = begun()
    before = view(env.episodes, 0)
    assert [(len(c.drawn), c.images) for c in before.candidates] == [(0, 0)] * 4
    assert all(c.mean == c.promise for c in before.candidates)
    blank = picture(before)
    env.step(np.array([0, 1]))
    after = view(env.episodes, 0)
    (found,) = (c for c in after.candidates if c.images)
    assert (len(found.drawn), found.images, after.spent) == (5, 5, 5)
    assert found.text == before.candidates[1].text
    assert found.promise == before.candidates[1].mean != found.mean
    assert picture(after).shape == blank.shape
    left = blank[150:, :340]
    assert len(np.unique(left.reshape(-1, 3), axis=0)) == 2  # paper, and the shade of the first row


@pytest.mark.parametrize("show", [text, picture])
@given(
    st.lists(st.tuples(st.floats(-100, 100), st.floats(0, 10), st.sampled_from([0, 5])), max_size=4),
    st.booleans(),
)
def test_any_estimates_can_be_shown(show: object, estimates: list[tuple[float, float, int]], zero: bool) -> None:
    """None, negative ones, and those of a dead neuron, which are all 0."""
    found = [candidate(*((0.0, 0.0) if zero else (mean, deviation)), images) for mean, deviation, images in estimates]
    assert show(view_of(*found)) is not None  # type: ignore[operator]


def test_bars_share_a_scale_that_begins_at_zero_or_below() -> None:
    low, high = replace(candidate(-0.5, 0.25), text="low"), replace(candidate(1.0, 0.25, 5), text="high")
    lines = text(view_of(high, low)).splitlines()
    assert (lines[1].count("█"), lines[1].count("▒")) == (15, 5)  # -0.75 to 1.25 on 20 cells
    assert (lines[2].count("█"), lines[2].count("▒")) == (0, 5)
    assert "high: 5 drawn, promise 1.000, coverage 0.40, precision 0.60" in lines[1]
    assert "low: not drawn, coverage 0.40, precision 0.60" in lines[2]
