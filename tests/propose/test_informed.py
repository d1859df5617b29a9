"""The mutator that knows the neuron from real images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from clustered_words import SIZES, clustered
from requests_of_neurons import requests

from dnr_env.agents.loops import PatienceAgent
from dnr_env.evaluation.rollout import rollout
from dnr_env.evidence.calibration import Calibration
from dnr_env.evidence.prior import Prior
from dnr_env.evidence.probe import Probe
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Kind, MutationBatch
from dnr_env.propose.informed import InformedMutator
from dnr_env.propose.kinds import words_of
from dnr_env.propose.posterior import sample_weights
from dnr_env.scores import excitement
from dnr_env.shapes.lexicon import WORDS
from dnr_env.stack import Stack


def any_stacks(stack: Stack) -> InformedMutator:
    """Make the mutator of real models, which does not use attributes, on the embedded world."""
    return InformedMutator(stack.vocabulary, stack.calibration)


def test_informed_of_any_stack_is_untried_and_nobody_elses_affair(stack: Stack) -> None:
    mutator, seeds = any_stacks(stack), list(range(12))
    batch = dataclasses.replace(requests(seeds, "red", images=20), neurons=np.arange(200, 212))
    together = [s.concept for s in mutator.mutate(batch)]
    assert set(together) <= set(stack.vocabulary.concepts)
    for i in seeds:
        alone = dataclasses.replace(requests([i], "red", images=20), neurons=np.array([200 + i]))
        assert [s.concept for s in mutator.mutate(alone)] == [together[i]]
    tried = [["small thing", text] for text in together]
    again = dataclasses.replace(batch, tried=tried, rngs=requests(seeds, "red").rngs)
    assert all(s.concept not in known for s, known in zip(mutator.mutate(again), tried, strict=True))
    small = InformedMutator(Vocabulary(lambda: ["star", "ring"], stack.embedder, stack.probes), stack.calibration)
    full = dataclasses.replace(alone, concepts=["ring"], tried=[["star", "ring"]])
    assert [s.concept for s in small.mutate(full)] == ["ring"]


@pytest.mark.parametrize("score", ["log_k", "grounded_k"])
def test_informed_of_any_stack_suggests_the_first_untried_word_of_a_sort(stack: Stack, score: str) -> None:
    """Each request alone: one regression, a promise for every concept less its words, and a stable sort of them."""
    probe, words = stack.probe, stack.vocabulary.concepts
    embeddings = probe.embeddings.astype(np.float64)
    centred = embeddings - embeddings.mean(axis=0)
    batch = dataclasses.replace(requests(range(16), "red", images=20), neurons=np.arange(200, 216), score=score)
    tried: list[list[str]] = [[] for _ in batch.concepts]
    for _ in range(3):
        rngs = [np.random.default_rng(i) for i in range(16)]
        asked = dataclasses.replace(batch, rngs=rngs, tried=tried, kinds=[None, Kind.MODEL] * 8)
        answers = any_stacks(stack).mutate(asked)
        for row, neuron in enumerate(batch.neurons.tolist()):
            which, seen = np.array([neuron]), batch.seen[row]
            real = excitement(probe.normalise(probe.real(which), which)[0].astype(np.float64))
            drawn = excitement(batch.activations[row, seen].astype(np.float64))
            inputs = np.concatenate([centred, batch.embeddings[row, seen] - embeddings.mean(axis=0)])
            outputs = np.concatenate([real, drawn]) - real.mean()
            (weights,) = sample_weights(
                (inputs.T @ inputs + np.eye(inputs.shape[1]))[None], (inputs.T @ outputs)[None],
                np.array([outputs @ outputs]), np.array([len(inputs)]),
                np.random.default_rng(row).standard_normal((1, inputs.shape[1])),
            )  # fmt: skip
            texts = stack.vocabulary.embeddings - stack.vocabulary.embeddings.mean(axis=0)
            order = stack.calibration.order(score, real.mean() + texts @ weights, stack.vocabulary.simulations(neuron))
            named = np.array([len(set(text.split()) - {"thing", "on"}) for text in words])
            order -= (0.04 if score == "grounded_k" else 0.0) * named
            taken = {batch.concepts[row], *tried[row]}
            best = next(words[i] for i in np.argsort(-order, kind="stable") if words[i] not in taken)
            assert answers[row].concept == best
            tried[row] = [*tried[row], best]


def test_informed_of_any_stack_weighs_drawn_images_too(stack: Stack) -> None:
    """The neuron is constant on the probe set, but red drawings excite it."""
    whole = stack.probes.whole
    flat = Probe("flat", np.zeros((len(whole), 1), np.float32), whole.embeddings, whole.images)
    words = Vocabulary(lambda: stack.vocabulary.concepts, stack.embedder, ProbeSource(lambda _: flat))
    mutator = InformedMutator(words, Calibration.default(), prior=0.01)
    batch = requests(range(40), "red", images=80, noise=0.0)
    found = [s.concept for s in mutator.mutate(batch)]
    assert sum("red" in text.split() for text in found) > 20


def test_informed_knows_the_neuron_from_real_images_alone(stack: Stack) -> None:
    """Without drawn images, it names the attribute of most planted neurons, while `linear` cannot."""
    names = stack.neurons
    planted = {f"planted:{i}": formula for i in range(75) if (formula := stack.known.truth(f"planted:{i}")) in WORDS}
    batch = dataclasses.replace(
        requests(range(len(planted)), "", images=0), neurons=np.array([names.index(neuron) for neuron in planted])
    )
    assert len(planted) > 10
    mutators = {**stack.mutators, "of any stack": any_stacks(stack)}
    for name, least, most in (("informed", 0.9, 1.0), ("of any stack", 0.9, 1.0), ("linear", 0.0, 0.3)):
        rngs = [np.random.default_rng(i) for i in range(len(planted))]
        found = [s.concept for s in mutators[name].mutate(dataclasses.replace(batch, rngs=rngs))]
        named = [formula in text.split() for formula, text in zip(planted.values(), found, strict=True)]
        assert least <= np.mean(named) <= most
    # Nor does a promise, which has no noise in it.
    for promises in (stack.promises, any_stacks(stack)):
        prior = Prior(stack.vocabulary, promises, stack.calibration, stack.language)
        for score in ("log_k", "grounded_k"):
            best = [int(prior.ranked(names.index(neuron), score).argmax()) for neuron in list(planted)[:6]]
            found = [stack.vocabulary.concepts[place] for place in best]
            named = [formula in text.split() for formula, text in zip(planted.values(), found, strict=False)]
            assert np.mean(named) > 0.9


def test_informed_refines_better_for_fewer_images(stack: Stack) -> None:
    jobs = [(f"layer4:{i}", 0) for i in range(0, 60, 4)]
    sums = {
        mutator: np.sum([episode.total_reward for episode in rollout(PatienceAgent(3), jobs, mutator=mutator)])
        for mutator in ("evidence", "informed")
    }
    assert sums["informed"] > sums["evidence"]


@pytest.mark.parametrize("kind", ["linear", "informed", "informed of any stack"])
def test_what_is_proposed_depends_on_whether_real_images_count(stack: Stack, kind: str) -> None:
    """Without drawings, proposals under grounded_k have a higher simulation than under log_k."""
    mutator = any_stacks(stack) if kind.endswith("stack") else stack.mutators[kind]
    neurons = np.array(stack.neurons.select("planted:validation"))
    batch = dataclasses.replace(requests(neurons.tolist(), "red", images=0), neurons=neurons)
    known = {}
    for score in ("log_k", "grounded_k"):
        asked = dataclasses.replace(batch, score=score, rngs=[np.random.default_rng(int(n)) for n in neurons])
        texts = [suggestion.concept for suggestion in mutator.mutate(asked)]
        known[score] = stack.vocabulary.simulation(texts, neurons).mean()
    assert known["grounded_k"] > known["log_k"]


@pytest.mark.parametrize("kind", [Kind.NARROW, Kind.BROADEN, Kind.SWAP])
@pytest.mark.parametrize("score", ["log_k", "grounded_k"])
def test_informed_of_any_stack_obeys_a_kind(kind: Kind, score: str) -> None:
    """It answers as it would without a kind if every word of another kind had been tried."""
    words = [f"{size}:{place}" for place in range(0, 60, 2) for size in SIZES]
    vocabulary = clustered(words)
    mutator, concepts = InformedMutator(vocabulary, Calibration.default()), ["16:0", "40:20", "16:59"] * 10

    def batch_of(tried: list[list[str]], kinds: list[Kind | None]) -> MutationBatch:
        batch = requests(range(30), "red", images=0)
        nothing = np.zeros((30, 80, len(SIZES) + 2), np.float32)
        neurons = np.arange(30) % 3
        return dataclasses.replace(
            batch, concepts=concepts, tried=tried, kinds=kinds, embeddings=nothing, neurons=neurons, score=score
        )

    may = [words_of(kind, concept, [], vocabulary) for concept in concepts]
    answers = mutator.mutate(batch_of([[] for _ in concepts], [kind] * 30))
    others = [[word for word in words if word not in allowed] for allowed in may]
    assert answers == mutator.mutate(batch_of(others, [None] * 30))
    assert all(answer.concept in allowed for answer, allowed in zip(answers, may, strict=True))
    assert [a.concept for a in mutator.mutate(batch_of([words] * 30, [kind] * 30))] == concepts
