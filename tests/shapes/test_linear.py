"""The search of the whole vocabulary by a linear model of the attributes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from playing import JOBS, NEURONS
from requests_of_neurons import answers, requests

from dnr_env import Rules, load_stack
from dnr_env.agents.loops import PatienceAgent
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.judge import judge
from dnr_env.evaluation.rollout import rollout
from dnr_env.scores import excitement
from dnr_env.shapes import lexicon
from dnr_env.shapes.language import RandomMutator
from dnr_env.shapes.lexicon import FAMILIES, FAMILY_SLICES, OPEN, WORDS
from dnr_env.shapes.linear import LinearMutator
from dnr_env.shapes.parse import values_of
from dnr_env.stack import Stack


def linear(prior: float = 2.0) -> LinearMutator:
    """Make the mutator that does not use real images."""
    stack = load_stack("shapes")
    return LinearMutator(stack.vocabulary, stack.calibration, prior=prior)


@pytest.mark.parametrize("liked", ["red", "striped", "ring", "grass", "huge"])
def test_linear_names_the_planted_attribute(liked: str) -> None:
    def share(mutator: LinearMutator | RandomMutator) -> float:
        words = WORDS.index(liked)
        allowed = [lexicon.allowed_words(values_of(text)) for text in answers(mutator, requests(range(100), liked))]
        part = next(part for part in FAMILY_SLICES if part.start <= words < part.stop)
        return float(np.mean([row[words] and row[part].sum() == 1 for row in allowed]))

    assert share(linear()) > 0.8
    assert share(RandomMutator()) < 0.2


def test_more_images_make_linear_surer() -> None:
    found = [
        answers(linear(), requests(range(60), "red", images=images, pad=200, noise=0.1)) for images in (0, 5, 20, 200)
    ]
    kinds = [len(set(texts)) for texts in found]
    reds = [sum("red" in text.split() for text in texts) for texts in found]
    assert kinds[0] > 40  # without evidence, chance decides
    assert kinds[-1] < min(kinds[:-1])
    assert reds[0] < 20
    assert reds == sorted(reds)
    assert reds[-1] > 50


def test_linear_answers_are_untried_drawable_and_nobody_elses_affair(stack: Stack) -> None:
    mutator, seeds = linear(), list(range(30))
    batch = requests(seeds, "red", images=20)
    tried: list[list[str]] = [["small thing"] for _ in seeds]
    for _ in range(6):
        found = answers(mutator, dataclasses.replace(batch, tried=tried, rngs=requests(seeds, "red").rngs))
        for known, text in zip(tried, found, strict=True):
            assert text not in known
            assert stack.language.normalise(text) == text
            assert text in stack.vocabulary.concepts
            known.append(text)
    together = answers(mutator, requests(seeds, "red"))
    assert [answers(mutator, requests([seed], "red"))[0] for seed in seeds] == together
    assert answers(mutator, requests(seeds[::-1], "red")) == together[::-1]


def test_linear_samples_are_equal_to_the_last_bit_in_any_batch() -> None:
    mutator, seeds = linear(), list(range(65))
    weights, intercepts = mutator._weights(requests(seeds, "red"))
    for seed in seeds:
        alone, intercept = mutator._weights(requests([seed], "red"))
        assert np.array_equal(alone[0], weights[seed])
        assert intercept[0] == intercepts[seed]


def test_linear_samples_follow_the_posterior() -> None:
    """Conjugate normal: mean (X'X + p)^-1 X'y of centred data, y = log(1 + max(a, 0)), covariance s² (X'X + p)^-1."""
    batch, n = requests([5], "red"), 20_000
    shown = lexicon.word_probabilities(batch.embeddings[0, :60]).astype(float)
    x = shown - shown.mean(axis=0)
    excited = np.log1p(np.maximum(batch.activations[0, :60].astype(float), 0))
    y = excited - excited.mean()
    inverse = np.linalg.inv(x.T @ x + 2 * np.eye(len(WORDS)))
    mean = inverse @ x.T @ y
    samples = []
    for start in range(0, n, 1000):
        many: dict[str, Any] = {
            key: np.repeat(getattr(batch, key), 1000, axis=0) for key in ("embeddings", "activations", "seen")
        }
        part = dataclasses.replace(batch, rngs=[np.random.default_rng(start + i) for i in range(1000)], **many)
        samples.append(linear(prior=2.0)._weights(part)[0])
    variance = (y @ y - y @ x @ mean) / 60
    scale = np.sqrt(variance * np.diag(inverse))
    assert np.abs((np.concatenate(samples).mean(axis=0) - mean) / scale).max() < 5 / np.sqrt(n)
    assert np.allclose(np.cov(np.concatenate(samples).T), variance * inverse, atol=0.05 * variance * inverse.max())


def test_linear_passes_over_what_was_not_seen() -> None:
    batch = requests(range(10), "red", images=30)
    other = requests(range(10), "red", images=30)
    other.embeddings[:, 30:] = 0
    other.activations[:, 30:] = np.nan
    assert answers(linear(), other) == answers(linear(), batch)


def test_linear_gives_the_text_back_where_all_is_tried() -> None:
    batch = dataclasses.replace(requests([0], "red"), tried=[list(lexicon.vocabulary())])
    assert answers(linear(), batch) == ["small thing"]


def test_linear_does_not_mind_a_concept_that_is_not_in_the_vocabulary() -> None:
    batch = dataclasses.replace(requests([0], "red"), concepts=["small red striped star on black"])
    assert answers(linear(), batch) == answers(linear(), requests([0], "red"))


def test_the_default_mutator_is_still_the_first(stack: Stack) -> None:
    assert list(stack.mutators) == ["evidence", "random", "linear", "informed"]
    assert list(rollout(PatienceAgent(3), JOBS)) == list(rollout(PatienceAgent(3), JOBS, mutator="evidence"))


def test_search_finds_better_labels_than_random(stack: Stack) -> None:
    names = stack.neurons
    jobs = [(neuron, seed) for seed in (1, 2) for neuron in names.named("layer4:validation")[:12]]

    def value(agent: str) -> float:
        labels = [episode.label for episode in rollout(make_agent(agent), jobs)]
        return float(
            np.mean(
                [
                    v.value
                    for v in judge(
                        stack,
                        neurons=[neuron for neuron, _ in jobs],
                        labels=labels,
                        rules=Rules(score="log_k", images_per_measure=5),
                    )
                ]
            )
        )

    assert value("patience:4@linear") > value("random") + 0.04


def test_promises_are_those_of_a_ridge_regression_on_the_real_images(stack: Stack) -> None:
    """Excitement is regressed on the words shown minus chance. A concept shows its own words, and others by chance."""
    neurons = stack.neurons.indices(NEURONS)
    embeddings = stack.probe.embeddings.astype(float)
    shown = embeddings[:, :-1] * (0.5 / embeddings[:, -1:])
    shown -= shown.mean(axis=0)
    concepts = ["red thing", "huge warm dotted star", "tiny thing on outdoor", "round thing"]
    asked = np.zeros((len(concepts), shown.shape[1]))
    for row, concept in enumerate(concepts):
        for family, (value, part) in enumerate(zip(values_of(concept), FAMILY_SLICES, strict=True)):
            if value != OPEN:
                words = FAMILIES[family].words
                named = (*words, *FAMILIES[family].hypernyms)
                first = sum(len(f.words) + len(f.hypernyms) for f in FAMILIES[:family])
                word = named[value - first]
                members = FAMILIES[family].hypernyms.get(word, (word,))
                asked[row, part] = [(w in members) / len(members) - 1 / len(words) for w in words]
    for neuron in neurons.tolist():
        which = np.array([neuron])
        excited = excitement(stack.probe.normalise(stack.probe.real(which), which)[0].astype(float))
        gram = shown.T @ shown + 2.0 * np.eye(shown.shape[1])
        weights = np.linalg.solve(gram, shown.T @ (excited - excited.mean()))
        expected = excited.mean() + asked @ weights
        found = stack.promises.excited(concepts, np.full(len(concepts), neuron))
        assert found == pytest.approx(expected, abs=1e-5)
        known = stack.vocabulary.concepts
        which = np.full(len(known), neuron)
        assert np.array_equal(stack.promises.excited(known, which), stack.promises.excited(list(known), which))
