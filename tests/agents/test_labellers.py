"""Agents that label from real images without drawing."""

from __future__ import annotations

import numpy as np
import pytest
from playing import NEURONS

from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.rollout import rollout
from dnr_env.shapes.lexicon import OPEN
from dnr_env.shapes.parse import values_of
from dnr_env.stack import Stack

JOBS = [(neuron, seed) for seed in (1, 2) for neuron in NEURONS]


@pytest.mark.parametrize("score", ["log_k", "grounded_k"])
def test_promise_labels_with_the_best_word_and_draws_nothing(stack: Stack, score: str) -> None:
    drawn = stack.lab.counters.drawn
    labels = make_agent("promise").labels(stack, NEURONS, score)
    assert labels
    assert stack.lab.counters.drawn == drawn
    for neuron, found in zip(stack.neurons.indices(NEURONS), labels, strict=True):
        words = list(stack.vocabulary.concepts)
        promises = stack.prior.values(words, np.full(len(words), neuron), score).mean
        assert found[0] == words[int(promises.argmax())]
        assert promises[words.index(found[0])] >= promises[words.index(found[1])] >= promises[words.index(found[2])]


def test_informed_begins_where_promise_is(stack: Stack) -> None:
    """Both use the same real images, so the mutator's first samples are close to the best promises."""
    wanted = dict(zip(NEURONS, make_agent("promise").labels(stack, NEURONS, "grounded_k") or [], strict=True))
    first = rollout(make_agent("rounds:1@informed"), JOBS, stack=stack)
    met = sum(episode.concepts[-1][0] in wanted[episode.neuron] for episode in first)
    assert met >= len(JOBS) // 2


def test_joined_words_say_what_the_terms_say(stack: Stack) -> None:
    heaviest = make_agent("linear").labels(stack, NEURONS, "grounded_k") or []
    joined = make_agent("linear-joined").labels(stack, NEURONS, "grounded_k") or []
    longer = 0
    for words, phrases in zip(heaviest, joined, strict=True):
        named, first = values_of(phrases[0]), values_of(words[0])
        assert all(one == other for one, other in zip(named, first, strict=True) if other != OPEN)
        assert phrases[1:] == [word for word in words if word != phrases[0]]
        longer += named != first
    assert longer


@pytest.mark.slow
def test_clip_dissect_takes_its_constants(stack: Stack) -> None:
    published, other = make_agent("clip-dissect"), make_agent("clip-dissect:20:40:0.5")
    assert vars(make_agent("clip-dissect:100:10:1")) == vars(published)
    assert other.labels(stack, NEURONS, "log_k") != published.labels(stack, NEURONS, "log_k")
