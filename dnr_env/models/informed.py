"""A mutator that knows the neuron from real images: a linear model of it on image embeddings, asked about words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial

import numpy as np

from dnr_env.describe.vocabulary import Vocabulary
from dnr_env.models import MutationBatch, Suggestion
from dnr_env.models.posterior import sample_weights
from dnr_env.scores import excitement, promise
from dnr_env.types import FloatArray, IntArray


class InformedMutator:
    """Takes the word of a vocabulary that a sampled linear model of the neuron promises most of; it asks nobody.

    What excites the neuron (`scores.excitement`) of the probe images and the episode's drawings is regressed on the
    images' embeddings, with a normal prior on the weights. Weights are drawn from the posterior (Thompson sampling),
    and a word's promise is the score that goes with their product with its text embedding, and, where real images count
    in the score, with its simulation. Texts and images lie apart in the space of a CLIP: images are taken relative to
    their mean; of texts, what they have in common orders nothing.
    Sources: Agrawal and Goyal 2013, "Thompson Sampling for Contextual Bandits with Linear Payoffs"; Oikarinen and Weng
    2024, "Linear Explanations for Individual Neurons".

    Args:
        words: gives the vocabulary, and with it the real images.
        prior: precision of the prior on a weight, where that of an image is the square of its embedding.
    """

    def __init__(self, words: Callable[[], Vocabulary], prior: float = 1.0) -> None:
        self.words = words
        self.prior = prior
        self._targets: dict[int, tuple[FloatArray, float, float]] = {}
        self._means: dict[int, FloatArray] = {}

    @cached_property
    def _images(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(dim,) mean, (images, dim) probe embeddings less it, and (dim, dim) the precision by them and the prior."""
        embeddings = self.words().probe.embeddings.astype(np.float64)
        mean = embeddings.mean(axis=0)
        centred = embeddings - mean
        return mean, centred, centred.T @ centred + self.prior * np.eye(len(mean))

    def foretell(self, concepts: Sequence[str], neurons: IntArray, score: str) -> FloatArray:
        """See `dnr_env.stacks.Stack.foretell`; excitements of one neuron are right but for a constant."""
        texts = self.words().embedder.embed_texts(concepts)
        excited = (texts.astype(np.float64) * np.stack([self._mean_weights(int(n)) for n in neurons])).sum(axis=1)
        return promise(score, excited, lambda: self.words().probe.simulation(texts, neurons))

    def _mean_weights(self, neuron: int) -> FloatArray:
        """(dim,) the posterior mean by the probe images alone."""
        if neuron not in self._means:
            self._means[neuron] = np.linalg.solve(self._images[2], self._target(neuron)[0])
        return self._means[neuron]

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """(b) words, none of them tried; the concept itself where all were."""
        words = self.words().concepts
        answers = []
        for row, (concept, tried) in enumerate(zip(batch.concepts, batch.tried, strict=True)):
            neuron = int(batch.neurons[row])
            excited = self.words().embeddings @ self._weights(batch, row)
            promised = promise(batch.score, excited, partial(self.words().simulations, neuron))
            known = {concept, *tried}
            best = next((words[i] for i in np.argsort(-promised, kind="stable") if words[i] not in known), concept)
            answers.append(Suggestion(best))
        return answers

    def _weights(self, batch: MutationBatch, row: int) -> FloatArray:
        """(dim,) a sample of a request's posterior."""
        mean, real, precision = self._images
        target, squares, usual = self._target(int(batch.neurons[row]))
        drawn = batch.embeddings[row, batch.seen[row]].astype(np.float64) - mean
        excited = excitement(batch.activations[row, batch.seen[row]].astype(np.float64)) - usual
        weights: FloatArray = sample_weights(
            (precision + drawn.T @ drawn)[None],
            (target + drawn.T @ excited)[None],
            np.array([squares + float(excited @ excited)]),
            np.array([len(real) + len(drawn)]),
            batch.rngs[row].standard_normal((1, len(mean))),
        )[0]
        return weights

    def _target(self, neuron: int) -> tuple[FloatArray, float, float]:
        """Of a neuron on the probe: (dim,) embeddings times excitements, squares of these, the mean they are less."""
        if neuron not in self._targets:
            which, probe = np.array([neuron]), self.words().probe
            real = excitement(probe.normalise(probe.real(which), which)[0].astype(np.float64))
            usual = float(real.mean())
            real -= usual
            self._targets[neuron] = self._images[1].T @ real, float(real @ real), usual
        return self._targets[neuron]
