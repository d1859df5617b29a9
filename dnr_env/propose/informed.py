"""A mutator that models the neuron linearly on image embeddings, beginning with the real images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from dnr_env.evidence.calibration import Calibration
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Kind, MutationBatch, Origin, Suggestion
from dnr_env.propose.kinds import words_of
from dnr_env.propose.posterior import sample_weights
from dnr_env.scores import excitement, price_of_words
from dnr_env.types import FloatArray, IntArray

_KEPT_BYTES = 1 << 27  # of simulations


class InformedMutator:
    """Suggests the word of a vocabulary with the highest promise under a sampled linear model of the neuron.

    The neuron's excitement (`scores.excitement`) on the probe images and on the episode's drawings is regressed on the
    images' embeddings, with a normal prior on the weights. Weights are drawn from the posterior (Thompson sampling).
    The product of the weights with a word's text embedding predicts its excitement. The word's promise follows from
    this and, if the score counts real images, from its simulation. Texts and images lie apart in the space of a CLIP:
    images are centred on their mean, while an offset common to all texts does not change their order. No language model
    is involved. If a kind of change is asked for, the word is one of `kinds.words_of`.
    Sources: Agrawal and Goyal 2013, "Thompson Sampling for Contextual Bandits with Linear Payoffs"; Oikarinen and Weng
    2024, "Linear Explanations for Individual Neurons".

    Args:
        vocabulary: the words, and the real images.
        calibration: turns predicted excitement and simulation into a promise.
        prior: precision of the prior on a weight, in units of the noise.
    """

    origin: Origin = "model"

    def __init__(self, vocabulary: Vocabulary, calibration: Calibration, prior: float = 1.0) -> None:
        self.vocabulary = vocabulary
        self.calibration = calibration
        self.prior = prior
        self._targets: dict[int, tuple[FloatArray, float, float]] = {}
        self._means: dict[int, FloatArray] = {}
        self._simulations: dict[int, FloatArray] = {}

    @cached_property
    def _images(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(dim,) mean of the probe embeddings, (images, dim) centred embeddings, and (dim, dim) posterior precision."""
        embeddings = self.vocabulary.probe.embeddings.astype(np.float64)
        mean = embeddings.mean(axis=0)
        centred = embeddings - mean
        return mean, centred, centred.T @ centred + self.prior * np.eye(len(mean))

    def excited(self, concepts: Sequence[str], neurons: IntArray) -> FloatArray:
        """See `dnr_env.interfaces.Promises`. A text of average direction is expected to excite as an average image."""
        if concepts is self.vocabulary.concepts:
            texts = self._texts
        else:
            texts = self.vocabulary.embedder.embed_texts(concepts).astype(np.float64) - self._centre
        known, places = np.unique(neurons, return_inverse=True)
        weights = np.stack([self._mean_weights(neuron) for neuron in known.tolist()])
        usual = np.array([self._target(neuron)[2] for neuron in known.tolist()])
        result: FloatArray = usual[places] + (texts * weights[places]).sum(axis=1)
        return result

    @cached_property
    def _centre(self) -> FloatArray:
        """(dim,) the mean embedding of the vocabulary's texts."""
        centre: FloatArray = self.vocabulary.embeddings.mean(axis=0)
        return centre

    @cached_property
    def _texts(self) -> FloatArray:
        """(concepts, dim) centred embeddings of the vocabulary's texts."""
        texts: FloatArray = self.vocabulary.embeddings - self._centre
        return texts

    @cached_property
    def _places(self) -> dict[str, int]:
        """The index of each concept in the vocabulary."""
        return {text: place for place, text in enumerate(self.vocabulary.concepts)}

    def _mean_weights(self, neuron: int) -> FloatArray:
        """(dim,) the posterior mean given only the probe images."""
        if neuron not in self._means:
            self._means[neuron] = np.linalg.solve(self._images[2], self._target(neuron)[0])
        return self._means[neuron]

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """See `dnr_env.interfaces.Mutator`."""
        words = self.vocabulary.concepts
        # One product for all requests, as reading the embeddings takes longer than multiplying them.
        excited = self._weights(batch) @ self._texts.T
        answers, prices = [], price_of_words(batch.score, self.vocabulary.lengths)
        for row, (concept, tried, kind) in enumerate(zip(batch.concepts, batch.tried, batch.kinds, strict=True)):
            neuron = int(batch.neurons[row])
            excited[row] += self._target(neuron)[2]
            promised = self.calibration.order(batch.score, excited[row], self._simulation(neuron))
            promised -= prices
            if kind is None or kind == Kind.MODEL:
                promised[[self._places[text] for text in {concept, *tried} if text in self._places]] = -np.inf
            else:
                may = [self._places[text] for text in words_of(kind, concept, tried, self.vocabulary)]
                allowed = np.full_like(promised, -np.inf)
                allowed[may] = promised[may]
                promised = allowed
            best = int(promised.argmax())
            answers.append(Suggestion(words[best] if np.isfinite(promised[best]) else concept))
        return answers

    def _simulation(self, neuron: int) -> FloatArray:
        """(concepts,) the simulation of every concept for one neuron."""
        if neuron not in self._simulations:
            if (len(self._simulations) + 1) * self.vocabulary.embeddings[:, 0].nbytes > _KEPT_BYTES:
                self._simulations = {}
            self._simulations[neuron] = self.vocabulary.simulations(neuron)
        return self._simulations[neuron]

    def _weights(self, batch: MutationBatch) -> FloatArray:
        """(b, dim) a sample from the posterior of each request."""
        mean, real, precision = self._images
        precisions, targets, squares, counts = [], [], [], []
        for row, neuron in enumerate(batch.neurons.tolist()):
            target, square, usual = self._target(neuron)
            drawn = batch.embeddings[row, batch.seen[row]].astype(np.float64) - mean
            excited = excitement(batch.activations[row, batch.seen[row]].astype(np.float64)) - usual
            precisions.append(precision + drawn.T @ drawn)
            targets.append(target + drawn.T @ excited)
            squares.append(square + float(excited @ excited))
            counts.append(len(real) + len(drawn))
        noise = np.stack([rng.standard_normal(len(mean)) for rng in batch.rngs])
        return sample_weights(np.stack(precisions), np.stack(targets), np.array(squares), np.array(counts), noise)

    def _target(self, neuron: int) -> tuple[FloatArray, float, float]:
        """(dim,) sum of a neuron's embeddings times centred excitements, their sum of squares, and the mean removed."""
        if neuron not in self._targets:
            which, probe = np.array([neuron]), self.vocabulary.probe
            real = excitement(probe.normalise(probe.real(which), which)[0].astype(np.float64))
            usual = float(real.mean())
            real -= usual
            self._targets[neuron] = self._images[1].T @ real, float(real @ real), usual
        return self._targets[neuron]
