"""The lower and upper bounds for other agents."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dnr_env import DnRError
from dnr_env.agents.base import Agent
from dnr_env.agents.registry import make_agent
from dnr_env.env.rules import Rules
from dnr_env.evaluation.judge import judge
from dnr_env.evaluation.rollout import rollout
from dnr_env.stack import Knowledge, Stack


@pytest.fixture(scope="module")
def players() -> list[Agent]:
    """Made once, because `clip-dissect` keeps its labels of all neurons."""
    agents = ("constant", "random-label", "stop", "clip-dissect", "patience:10@linear", "oracle")
    return [make_agent(name) for name in agents]


@pytest.mark.parametrize("score", ["log_k", "grounded_k"])
@pytest.mark.slow
def test_the_oracle_is_above_everybody_and_chance_below(stack: Stack, players: list[Agent], score: str) -> None:
    neurons = stack.neurons.named("validation")[::5]
    values = {}
    for agent in players:
        episodes = list(rollout(agent, [(neuron, 1) for neuron in neurons], rules=Rules(score=score)))
        verdicts = judge(
            stack, neurons=neurons, labels=[e.label for e in episodes], rules=Rules(score=score, images_per_measure=5)
        )
        values[agent.name] = float(np.mean([verdict.value for verdict in verdicts]))
    assert max(values, key=values.__getitem__) == "oracle"
    assert max(values["constant"], values["random-label"]) < values["stop"]


def test_labels_of_nothing(stack: Stack) -> None:
    neurons = stack.neurons[:30]
    constant, drawn = ([e.label for e in rollout(make_agent(name), [(n, 1) for n in neurons])]
                       for name in ("constant", "random-label"))  # fmt: skip
    assert set(constant) == {stack.vocabulary.concepts[0]}
    assert len(set(drawn)) > 26
    assert set(drawn) <= set(stack.vocabulary.concepts)
    assert [e.label for e in rollout(make_agent("random-label"), [(n, 2) for n in neurons[::-1]])] == drawn[::-1]
    for episode in rollout(make_agent("oracle"), [("planted:3", 1)]):
        assert (episode.images, episode.steps) == (0, 0)


def test_an_oracle_that_does_not_know_says_so(stack: Stack) -> None:
    ignorant = dataclasses.replace(stack, name="other", known=Knowledge())
    with pytest.raises(
        DnRError, match=r"must not be 'oracle' .* \(got layer4:3 on 'other' with grounded_k\)"
    ) as caught:
        make_agent("oracle").labels(ignorant, ["layer4:3"], "grounded_k")
    assert "\n" not in str(caught.value)
