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


def test_lookahead_stops_after_the_first_look_when_images_are_dear_and_never_when_they_are_free() -> None:
    for job in JOBS:
        episode, dear = played(make_agent("lookahead"), job, image_cost=1.0)
        assert {action for action, _ in dear[:-1]} == {Action.KEEP}
        assert dear[-1] == [Action.STOP, 0]
        assert episode.images == 5 * len(episode.concepts)
        episode, _ = played(make_agent("lookahead"), job, image_cost=0.0)
        assert episode.ran_out or episode.images == 100


def test_lookahead_spends_less_the_dearer_an_image() -> None:
    jobs = [(f"layer4:{i}", 1) for i in range(12)]
    images = [
        np.mean([e.images for e in rollout(make_agent("lookahead"), jobs, rules=Rules(image_cost=cost))])
        for cost in (0.0001, 0.002, 0.05)
    ]
    assert images == sorted(images, reverse=True)
    assert images[0] > images[-1] > 0


def test_lookahead_knows_what_a_measurement_costs() -> None:
    """At the same price per image, larger measurements need a larger expected gain."""
    jobs = [(f"layer4:{i}", 1) for i in range(12)]
    steps = [
        np.mean(
            [
                e.steps
                for e in rollout(
                    make_agent("lookahead"), jobs, rules=Rules(images_per_measure=m, budget=1000, image_cost=0.001)
                )
            ]
        )
        for m in (5, 20)
    ]
    assert steps[1] < steps[0]


def test_lookahead_counts_what_its_mutants_have_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    """It remembers the differences between the mean of each drawn mutant and the best mean before it."""
    agent: Any = make_agent("lookahead")
    monkeypatch.setattr("dnr_env.agents.lookahead._mutant_worth", lambda state: 1.0)  # it always mutates
    states: list[Any] = []
    predict = agent.predict

    def spy(*args: Any, **options: Any) -> Any:
        chosen, state = predict(*args, **options)
        states.append((chosen[0].tolist(), state[0][0].copy()))
        return chosen, state

    agent.predict = spy
    (episode,) = rollout(agent, [("layer4:3", 1)], rules=Rules(n_slots=8, image_cost=0.0))
    first = next(i for i, (action, _) in enumerate(states) if action[0] == Action.MUTATE)
    means = [mean or 0.0 for _, mean, _ in episode.concepts]
    view = sorted((mean for mean in means[:first]), reverse=True)
    decisions = [state for action, state in states if action[0] == Action.MUTATE]
    total = 0.0
    assert len(decisions) > 4
    for mean, state in zip(means[first:], decisions[1:], strict=False):
        lowest = view[7] if len(view) >= 8 else -math.inf
        total = agent.recency * total + max(mean, lowest) - view[0]
        assert state[2] == pytest.approx(total, abs=1e-5)
        view = sorted([*view, mean], reverse=True)[:8]
