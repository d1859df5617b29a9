"""Rules that list what is free and draw as long as it pays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from playing import NEURONS, played

from dnr_env import Action
from dnr_env.agents.gradient import GradientAgent, evidence_of
from dnr_env.agents.registry import make_agent
from dnr_env.env.observe import PROGRESS, SCORE_COLUMNS, worth_of_drawing
from dnr_env.interfaces import Kind

JOBS = [(neuron, seed) for seed in (1, 2) for neuron in NEURONS[:3]]
RULES = pytest.mark.parametrize("name", ["improve:4", "gradient:4"])


def seen(prior: float, noise: Any, promise: Any, result: Any, keeps: Any) -> dict[str, Any]:
    """The observation of one episode whose posterior is a product of normals, with slots in the order given."""
    noise, promise, result, keeps = map(np.asarray, (noise, promise, result, keeps))
    precision = 1 / prior**2 + keeps / noise
    mean = (promise / prior**2 + np.where(keeps > 0, result, 0) * keeps / noise) / precision
    order = np.argsort(-mean, kind="stable")
    reach = (1 / precision) / np.sqrt(1 / precision + noise)
    scores = np.zeros((1, 8, len(SCORE_COLUMNS)), np.float32)
    columns = {
        "mean": mean[order],
        "deviation": np.sqrt(1 / precision + 0.03**2)[order],
        "unsettled": np.sqrt(1 / precision)[order],
        "reach": reach[order],
        "promise": promise[order],
        "worth": worth_of_drawing(mean[order][None], reach[order][None])[0],
        "images": keeps[order],
        "present": 1,
    }
    for name, values in columns.items():
        scores[0, : len(mean), SCORE_COLUMNS.index(name)] = values
    progress = np.zeros((1, len(PROGRESS)), np.float32)
    progress[:, PROGRESS.index("budget_left")] = 1.0
    progress[:, PROGRESS.index("images_per_measure")] = 0.05
    progress[:, PROGRESS.index("image_cost")] = 0.1
    return {"scores": scores, "progress": progress}


def test_promises_results_and_noise_are_recovered_from_an_observation() -> None:
    noise, promise = [0.004, 0.006, 0.003, 0.005], [0.62, 0.60, 0.61, 0.58]
    result, keeps = [0.55, 0.70, 0.0, 0.0], [1, 2, 0, 0]
    (found,) = evidence_of(seen(0.06, noise, promise, result, keeps))
    assert found.deviation == pytest.approx(np.full(4, 0.06), rel=1e-4)
    order = [promise.index(round(float(p), 2)) for p in found.promise]
    assert sorted(order) == [0, 1, 2, 3]
    assert found.keeps.tolist() == [keeps[i] for i in order]
    assert found.noise == pytest.approx([noise[i] for i in order], rel=1e-3)
    for place, i in enumerate(order):
        if keeps[i]:
            assert found.result[place] == pytest.approx(result[i], rel=1e-3)


def decide(agent: GradientAgent, observation: dict[str, Any]) -> tuple[int, int]:
    state = agent.start([0])
    actions, _ = agent.predict(observation, state)
    return int(actions[0, 0]), int(actions[0, 1])


def test_look_ahead_draws_where_one_keep_changes_nothing_and_several_would() -> None:
    """The paradox of Frazier and Powell: one noisy measurement is worth less than its price, several are worth more."""
    observation = seen(0.05, [0.02, 0.02], [0.6, 0.56], [0, 0], [0, 0])
    observation["progress"][:, PROGRESS.index("image_cost")] = 0.02
    assert decide(GradientAgent(0, look=1, spread=1.0, doubt=1e9), observation)[0] == Action.STOP
    assert decide(GradientAgent(0, look=8, spread=1.0, doubt=1e9), observation)[0] == Action.KEEP
    observation["progress"][:, PROGRESS.index("budget_left")] = 0.05  # which pays for one
    assert decide(GradientAgent(0, look=8, spread=1.0, doubt=1e9), observation)[0] == Action.STOP


@RULES
def test_a_rule_lists_by_model_then_draws_then_stops(name: str) -> None:
    drawn = 0
    for job in JOBS:
        episode, actions = played(make_agent(name), job)
        assert [tuple(action[::2]) for action in actions[:4]] == [(Action.MUTATE, Kind.MODEL)] * 4
        kinds = [action for action, *_ in actions[4:]]
        assert set(kinds[:-1]) <= {Action.KEEP}
        assert kinds[-1] == Action.STOP or episode.ran_out
        assert episode.images == 5 * kinds.count(Action.KEEP)
        drawn += episode.images
    assert drawn


@RULES
def test_nothing_is_drawn_that_costs_more_than_it_can_bring(name: str) -> None:
    for job in JOBS[:3]:
        episode, _ = played(make_agent(name), job, image_cost=1.0)
        assert (episode.images, episode.steps) == (0, 5)
        episode, _ = played(make_agent(name), job, budget=0)
        assert (episode.images, episode.steps) == (0, 5)


def test_dearer_images_are_fewer() -> None:
    def images(cost: float) -> float:
        return float(np.mean([played(make_agent("gradient:3"), job, image_cost=cost)[0].images for job in JOBS]))

    assert images(0.000005) > images(0.00005) > images(0.02)
