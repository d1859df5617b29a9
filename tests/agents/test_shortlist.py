"""The most promising concepts, drawn equally often."""

from __future__ import annotations

from playing import NEURONS

from dnr_env import Rules
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.rollout import rollout
from dnr_env.stack import Stack

JOBS = [(neuron, seed) for seed in (1, 2) for neuron in NEURONS]


def test_a_shortlist_draws_what_real_images_promise_and_trusts_the_posterior(stack: Stack) -> None:
    wanted = dict(zip(NEURONS, make_agent("promise").labels(stack, NEURONS, "grounded_k") or [], strict=True))
    for name, each in (("shortlist:3", 1), ("shortlist:3:2", 2)):
        agent = make_agent(name)
        for episode in rollout(agent, JOBS, stack=stack):
            assert [text for text, *_ in episode.concepts] == wanted[episode.neuron]
            assert [images for *_, images in episode.concepts] == [5 * each] * 3
            assert episode.images == 5 * agent.most_measurements(Rules(), 3)
            assert episode.label == max(episode.concepts, key=lambda concept: concept[1] or 0.0)[0]


def test_without_a_budget_it_is_the_promise(stack: Stack) -> None:
    wanted = make_agent("promise").labels(stack, NEURONS, "grounded_k") or []
    first = rollout(make_agent("shortlist:3"), [(neuron, 1) for neuron in NEURONS], stack=stack, rules=Rules(budget=0))
    assert [episode.label for episode in first] == [labels[0] for labels in wanted]
