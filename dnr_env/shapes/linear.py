"""A mutator that searches the whole vocabulary, by Thompson sampling on a Bayesian linear model of the attributes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from dnr_env.evidence.calibration import Calibration
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Kind, MutationBatch, Origin, Suggestion
from dnr_env.propose.posterior import sample_weights
from dnr_env.scores import excitement, price_of_words
from dnr_env.shapes.edits import neighbours
from dnr_env.shapes.lexicon import CHANCE, FAMILIES, FAMILY_SLICES, MEMBERS, OPEN, VALUE_FAMILY, VALUES
from dnr_env.shapes.parse import values_of
from dnr_env.types import FloatArray, IntArray


def _means() -> FloatArray:
    """(values, words) how much more often than by chance each word is shown if a value is true."""
    shown = MEMBERS / MEMBERS.sum(axis=1, keepdims=True)
    for value, family in enumerate(VALUE_FAMILY):
        shown[value, FAMILY_SLICES[family]] -= CHANCE[FAMILY_SLICES[family]]
    return np.asarray(shown, np.float64)


_MEANS = _means()


class LinearMutator:
    """Suggests the concept of the vocabulary with the highest promise under a sampled linear model of the neuron.

    The neuron's excitement (`scores.excitement`) on the images is regressed on the words that they show. The prior on
    the words' weights is normal with mean 0, and the variance of the noise is unknown. Weights are drawn from the joint
    posterior (Thompson sampling) and predict the mean excitement of a concept's images. The concept's promise follows
    from this and, if the score counts real images, from its simulation. The request's own concept has no influence,
    except where a kind of edit is asked for: then only edits of it can be chosen.
    Source: Agrawal and Goyal 2013, "Thompson Sampling for Contextual Bandits with Linear Payoffs".

    Args:
        vocabulary: the concepts, and the real images.
        calibration: turns predicted excitement and simulation into a promise.
        informed: whether the model is also fitted to the neuron's activations on the real images, which cost nothing. A
            real image weighs as much as an image of the episode.
        prior: precision of the prior on a weight, in units of that of one image.
    """

    origin: Origin = "model"

    def __init__(
        self,
        vocabulary: Vocabulary,
        calibration: Calibration,
        informed: bool = False,
        prior: float = 2.0,
    ) -> None:
        self.vocabulary = vocabulary
        self.calibration = calibration
        self.informed = informed
        self.prior = prior
        self._simulations: dict[int, FloatArray] = {}

    @cached_property
    def _attributes(self) -> tuple[dict[str, int], IntArray]:
        """The index of each concept, and (families, concepts) values, with `len(VALUES)` for an open family."""
        texts = self.vocabulary.concepts
        values = np.array([values_of(text) for text in texts]).T
        return {text: place for place, text in enumerate(texts)}, np.where(values == OPEN, len(VALUES), values)

    @cached_property
    def _excited(self) -> FloatArray:
        """(neurons, images) the excitement on the real images."""
        probe = self.vocabulary.probe
        return excitement(probe.normalise(probe.real(probe.neurons), probe.neurons).astype(np.float64))

    @cached_property
    def _usual(self) -> FloatArray:
        """(neurons,) the mean excitement: that of a picture that shows each word by chance."""
        usual: FloatArray = self._excited.mean(axis=1)
        return usual

    @cached_property
    def _known(self) -> tuple[FloatArray, FloatArray, FloatArray, int]:
        """The real images' precision (words, words), targets (neurons, words), squares (neurons,), and number."""
        embeddings = self.vocabulary.probe.embeddings.astype(np.float64)
        words = embeddings[:, :-1] * (0.5 / embeddings[:, -1:])
        words -= words.mean(axis=0)
        excited = self._excited - self._usual[:, None]
        return words.T @ words, excited @ words, np.square(excited).sum(axis=1), len(words)

    @cached_property
    def _effects(self) -> FloatArray:
        """(neurons, values + 1) posterior mean effects given only the real images; 0 for an open family."""
        precision, targets, _, _ = self._known
        weights = np.linalg.solve(precision + self.prior * np.eye(len(precision)), targets.T).T
        return np.concatenate([weights @ _MEANS.T, np.zeros((len(weights), 1))], axis=1)

    def excited(self, concepts: Sequence[str], neurons: IntArray) -> FloatArray:
        """See `dnr_env.interfaces.Promises`."""
        if concepts is self.vocabulary.concepts:
            values = self._attributes[1].T
        else:
            values = np.array([values_of(concept) for concept in concepts])
            values = np.where(values == OPEN, len(VALUES), values)
        result: FloatArray = self._usual[neurons] + self._effects[neurons[:, None], values].sum(axis=1)
        return result

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """See `dnr_env.interfaces.Mutator`. The concept is one of the vocabulary."""
        texts, (places, values) = self.vocabulary.concepts, self._attributes
        weights, intercept = self._weights(batch)
        effects = weights[:, None] @ _MEANS.T  # (b, 1, values)
        # An open family shows all of its words, so its effect is 0.
        effect = np.concatenate([effects[:, 0], np.zeros((len(effects), 1))], axis=1).astype(np.float32)
        answers = []
        # One request at a time: the numbers of all concepts then stay in the processor's cache.
        for row, (concept, tried, kind) in enumerate(zip(batch.concepts, batch.tried, batch.kinds, strict=True)):
            excited = effect[row].take(values[0]) + np.float32(intercept[row])
            for family in range(1, len(FAMILIES)):
                excited += effect[row].take(values[family])
            promised = self.calibration.order(batch.score, excited, self._simulation(int(batch.neurons[row])))
            promised -= price_of_words(batch.score, self._lengths)
            if kind is not None and kind != Kind.MODEL:
                near = [places[text] for text in neighbours(values_of(concept), kind) if text in places]
                allowed = np.full_like(promised, -np.inf)
                allowed[near] = promised[near]
                promised = allowed
            promised[[places[text] for text in {concept, *tried} if text in places]] = -np.inf
            best = int(promised.argmax())
            answers.append(Suggestion(texts[best] if np.isfinite(promised[best]) else concept))
        return answers

    @cached_property
    def _lengths(self) -> FloatArray:
        """(concepts,) float32."""
        return self.vocabulary.lengths.astype(np.float32)

    def _simulation(self, neuron: int) -> FloatArray:
        """(concepts,) float32."""
        if neuron not in self._simulations:
            self._simulations[neuron] = self.vocabulary.simulations(neuron).astype(np.float32)
        return self._simulations[neuron]

    def _weights(self, batch: MutationBatch) -> tuple[FloatArray, FloatArray]:
        """(b, words) a sample from each posterior, and (b,) the predicted excitement of a drawing by chance.

        Every sum is over the images of one request.
        """
        seen = batch.seen.astype(np.float64)
        count = np.maximum(seen.sum(axis=1), 1)
        constant = batch.embeddings[..., -1].astype(np.float64)
        scale = np.divide(0.5, constant, out=np.zeros_like(constant), where=batch.seen & (constant > 0))
        words = batch.embeddings[..., :-1] * scale[..., None]  # (b, images, words), less chance
        shown = words.sum(axis=1) / count[:, None]
        words -= shown[:, None] * seen[..., None]
        # Padding may hold anything, including NaN.
        excited = excitement(np.where(batch.seen, batch.activations, 0.0).astype(np.float64))
        usual = excited.sum(axis=1) / count
        excited = (excited - usual[:, None]) * seen
        precision = np.swapaxes(words, 1, 2) @ words + self.prior * np.eye(words.shape[2])
        target = (np.swapaxes(words, 1, 2) @ excited[..., None])[..., 0]
        squares = np.square(excited).sum(axis=1)
        if self.informed:
            known, targets, real, number = self._known
            precision, target = precision + known, target + targets[batch.neurons]
            squares, count = squares + real[batch.neurons], count + number
        noise = np.stack([rng.standard_normal(words.shape[2]) for rng in batch.rngs])
        weights = sample_weights(precision, target, squares, count, noise)
        return weights, usual - (shown * weights).sum(axis=1)
