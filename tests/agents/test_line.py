"""A fixed number of mutations, and the loop of LINE."""

from __future__ import annotations

import numpy as np
import pytest
from playing import NEURONS, played

from dnr_env import Action, Rules
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.rollout import Episode, rollout
from dnr_env.scores import score
from dnr_env.seeds import Purpose, block_of
from dnr_env.shapes.lexicon import OPEN
from dnr_env.shapes.parse import parse, values_of
from dnr_env.stack import Stack


@pytest.mark.parametrize("rounds", [1, 4, 10])
def test_a_loop_of_rounds_does_exactly_these(rounds: int) -> None:
    for job in JOBS:
        agent = make_agent(f"rounds:{rounds}")
        episode, actions = played(agent, job, budget=200, max_steps=60)
        assert [action for action, _ in actions if action != Action.KEEP] == [Action.MUTATE] * rounds + [Action.STOP]
        assert episode.images == 5 * sum(action == Action.KEEP for action, _ in actions)
        assert all(slot == 0 for action, slot in actions if action == Action.MUTATE)
        assert episode.label == max(episode.concepts, key=lambda concept: concept[1] or 0.0)[0]
        candidates = len(episode.concepts) - rounds  # or more, if a mutant was listed already
        assert episode.images <= 5 * agent.most_measurements(Rules(budget=200, max_steps=60), candidates + rounds)


JOBS = [(neuron, seed) for seed in (1, 2) for neuron in NEURONS]


def drawn_scores(stack: Stack, episode: Episode) -> dict[str, float]:
    """The scores of the first five drawings of each concept, on the episode's seeds."""
    texts = [text for text, *_ in episode.concepts]
    neurons = np.full(len(texts), stack.neurons.index(episode.neuron))
    seeds = Purpose.SEARCH.rows(5, np.full(len(texts), block_of(episode.seed)))
    found = stack.lab.measure(concepts=texts, neurons=neurons, seeds=seeds)
    activations = stack.probe.normalise(found.activations, neurons)
    scores, _ = score("log_k", activations=activations, counts=np.full(len(texts), 5), m=5)
    return dict(zip(texts, scores.astype(np.float32).tolist(), strict=True))


def test_line_starts_from_the_strongest_images_and_ends_with_a_summary(stack: Stack) -> None:
    new = 0
    for episode in rollout(make_agent("line:2@informed"), JOBS, stack=stack):
        (proposal,) = stack.proposer.propose(stack.neurons.indices([episode.neuron]).tolist(), 8)
        captions = [
            excerpt.caption for excerpt in proposal.excerpts if any(v != OPEN for v in parse(excerpt.caption).values)
        ]
        start = list(dict.fromkeys(map(stack.language.normalise, captions)))[:5]
        texts = [text for text, *_ in episode.concepts]
        assert texts[: len(start)] == start
        assert episode.images == 5 * len(texts)  # each once
        scores = drawn_scores(stack, episode)
        assert scores[episode.label] == max(scores.values())
        if len(texts) == len(start) + 3:  # it may be one that is there already
            new += 1
            third = sorted(scores[text] for text in texts[:-1])[-3]
            before = [text for text in texts[:-1] if scores[text] >= third - 1e-6]  # with ties
            said = np.array([values_of(text) for text in before])
            summary = np.array(values_of(texts[-1]))
            assert (summary != OPEN).sum() == 1
            assert (said[:, summary != OPEN] != OPEN).any(axis=0).all()  # it speaks of what the best three speak of
    assert new
