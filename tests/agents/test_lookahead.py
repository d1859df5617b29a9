"""The look-ahead agent: prices, costs, and what it remembers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from playing import NEURONS, played

from dnr_env import Action
from dnr_env.agents.registry import make_agent
from dnr_env.env.rules import Rules
from dnr_env.evaluation.rollout import rollout

JOBS = [(neuron, seed) for seed in (1, 2) for neuron in NEURONS[:3]]


def test_lookahead_stops_at_once_when_images_are_dear_and_never_when_they_are_free() -> None:
    for job in JOBS:
        _, dear = played(make_agent("lookahead"), job, image_cost=1.0)
        assert dear == [[Action.STOP, 0]]
        episode, _ = played(make_agent("lookahead"), job, image_cost=0.0)
        assert episode.ran_out
        assert episode.added_images == 100


def test_lookahead_spends_less_the_dearer_an_image() -> None:
    jobs = [(f"layer4:{i}", 1) for i in range(20)]
    images = [
        np.mean([e.added_images for e in rollout(make_agent("lookahead"), jobs, rules=Rules(image_cost=cost))])
        for cost in (0.0001, 0.0005, 0.002, 0.01)
    ]
    assert images == sorted(images, reverse=True)
    assert images[0] > 2 * images[-1] > 0


def test_lookahead_knows_what_a_measurement_costs() -> None:
    """At the same price per image, larger measurements need a larger expected gain."""
    jobs = [(f"layer4:{i}", 1) for i in range(20)]
    steps = [
        np.mean(
            [e.steps for e in rollout(make_agent("lookahead"), jobs, rules=Rules(images_per_measure=m, budget=1000))]
        )
        for m in (5, 20)
    ]
    assert steps[1] < steps[0]


def test_lookahead_acts_on_the_best_or_measures_one_of_two() -> None:
    seen = {tuple(action) for job in JOBS for action in played(make_agent("lookahead"), job, image_cost=0.0001)[1]}
    assert seen <= {(Action.MUTATE, 0), (Action.KEEP, 0), (Action.KEEP, 1), (Action.STOP, 0)}
    assert (Action.MUTATE, 0) in seen
    assert len(seen) > 2


def test_lookahead_counts_what_its_mutants_have_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    """It remembers the differences between each new score and the best score before it."""
    monkeypatch.setattr("dnr_env.agents.lookahead._keep_worth", lambda *state: 0.0)  # scores stay as they are
    agent: Any = make_agent("lookahead")
    states: list[Any] = []
    predict = agent.predict

    def spy(*args: Any, **options: Any) -> Any:
        chosen, state = predict(*args, **options)
        states.append((chosen[0].tolist(), state[0][0].copy()))
        return chosen, state

    agent.predict = spy
    (episode,) = rollout(agent, [("layer4:3", 1)], rules=Rules(n_slots=8, image_cost=0.0))
    assert [action for action, _ in states] == [[Action.MUTATE, 0]] * 20
    first = len(episode.concepts) - 20
    total = 0.0
    view = sorted((score for _, score in episode.concepts[:first]), reverse=True)
    for (_, score), (_, state) in zip(episode.concepts[first:], states[1:], strict=False):
        lowest = view[7] if len(view) >= 8 else -math.inf
        total = agent.recency * total + max(score, lowest) - view[0]
        assert state[2] == pytest.approx(total, abs=1e-5)
        view = sorted([*view, score], reverse=True)
