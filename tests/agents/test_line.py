"""A fixed number of mutations, and the loop of LINE."""

from __future__ import annotations

import numpy as np
import pytest
from playing import NEURONS, played

from dnr_env import Action
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.rollout import rollout
from dnr_env.shapes.lexicon import OPEN
from dnr_env.shapes.parse import parse, values_of
from dnr_env.stack import Stack


@pytest.mark.parametrize("rounds", [1, 4, 10])
def test_a_loop_of_rounds_does_exactly_these(rounds: int) -> None:
    for job in JOBS:
        episode, actions = played(make_agent(f"rounds:{rounds}"), job)
        assert [action for action, _ in actions] == [Action.MUTATE] * rounds + [Action.STOP]
        assert episode.label == max(episode.concepts, key=lambda concept: concept[1])[0]


JOBS = [(neuron, seed) for seed in (1, 2) for neuron in NEURONS]


def test_line_starts_from_the_strongest_images_and_ends_with_a_summary(stack: Stack) -> None:
    new = 0
    for episode in rollout(make_agent("line:2@informed"), JOBS, stack=stack):
        (proposal,) = stack.proposer.propose(stack.neurons.indices([episode.neuron]).tolist(), 8)
        captions = [
            excerpt.caption for excerpt in proposal.excerpts if any(v != OPEN for v in parse(excerpt.caption).values)
        ]
        start = list(dict.fromkeys(map(stack.language.normalise, captions)))[:5]
        texts = [text for text, _ in episode.concepts]
        assert texts[: len(start)] == start
        assert episode.steps == 4  # two mutations, the summary, and the stop
        assert episode.images == 5 * (len(start) + 3)
        assert episode.label == max(episode.concepts, key=lambda concept: concept[1])[0]
        if len(texts) == len(start) + 3:  # it may be one that is there already
            new += 1
            before = sorted(episode.concepts[:-1], key=lambda concept: -concept[1])[:3]
            said = np.array([values_of(text) for text, _ in before])
            summary = np.array(values_of(texts[-1]))
            assert (summary != OPEN).sum() == 1
            assert (said[:, summary != OPEN] != OPEN).any(axis=0).all()  # it speaks of what the best three speak of
    assert new
