"""A search of the whole vocabulary: Thompson sampling on a Bayesian linear model of the attributes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache

import numpy as np

from dnr_env.describe.probe import Probe
from dnr_env.models import MutationBatch, Suggestion
from dnr_env.shapes import lexicon
from dnr_env.shapes.lexicon import CHANCE, FAMILIES, FAMILY_SLICES, MEMBERS, OPEN, VALUE_FAMILY, VALUES
from dnr_env.shapes.parse import values_of
from dnr_env.types import FloatArray, IntArray


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[tuple[str, ...], dict[str, int], IntArray]:
    """The concepts, their places, and (families, concepts) their values; an open family has the last, `len(VALUES)`."""
    texts = lexicon.vocabulary()
    values = np.array([values_of(text) for text in texts]).T
    return texts, {text: place for place, text in enumerate(texts)}, np.where(values == OPEN, len(VALUES), values)


def _means() -> FloatArray:
    """(values, words): how much more often than chance each word is shown where a value is true."""
    shown = MEMBERS / MEMBERS.sum(axis=1, keepdims=True)
    for value, family in enumerate(VALUE_FAMILY):
        shown[value, FAMILY_SLICES[family]] -= CHANCE[FAMILY_SLICES[family]]
    return np.asarray(shown, np.float64)


_MEANS = _means()


class LinearMutator:
    """Takes the concept of the vocabulary that a sampled linear model of the neuron promises most of.

    The images' activations are regressed on the words that they show, with a normal prior on the words' weights, whose
    mean is 0, and an unknown variance of the noise. Weights are drawn from the joint posterior (Thompson sampling), and
    a concept's promise is the mean of what they give its images. The concept that is asked about does not matter, only
    the images seen. Source: Agrawal and Goyal 2013, "Thompson Sampling for Contextual Bandits with Linear Payoffs".

    Args:
        prior: precision of the prior on a weight, in units of that of one image.
        probe: the real images, where the model is to begin with what the neuron does on them, which costs nothing.
            One of them counts as much as one of the episode's.
    """

    def __init__(self, prior: float = 2.0, probe: Callable[[], Probe] | None = None) -> None:
        self.prior = prior
        self.probe = probe

    @cached_property
    def _known(self) -> tuple[FloatArray, FloatArray, FloatArray, int]:
        """Of the real images: precision (words, words), targets (neurons, words), squares (neurons,), their number."""
        assert self.probe is not None
        probe = self.probe()
        embeddings = probe.embeddings.astype(np.float64)
        words = embeddings[:, :-1] * (0.5 / embeddings[:, -1:])
        words -= words.mean(axis=0)
        neurons = np.arange(probe.activations.shape[1])
        activations = probe.normalise(probe.real(neurons), neurons).astype(np.float64)
        activations -= activations.mean(axis=1, keepdims=True)
        return words.T @ words, activations @ words, np.square(activations).sum(axis=1), len(words)

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """(b) concepts of the vocabulary, none of them tried."""
        texts, places, values = _vocabulary()
        effects = self._weights(batch)[:, None] @ _MEANS.T  # (b, 1, values)
        # An open family shows all its words: its effect is that of no value in particular, 0.
        effect = np.concatenate([effects[:, 0], np.zeros((len(effects), 1))], axis=1).astype(np.float32)
        promise = effect[:, values[0]]
        for family in range(1, len(FAMILIES)):
            promise += effect[:, values[family]]
        answers = []
        for row, (concept, tried) in enumerate(zip(batch.concepts, batch.tried, strict=True)):
            taken = [places[text] for text in {concept, *tried} if text in places]
            promise[row, taken] = -np.inf
            best = int(promise[row].argmax())
            answers.append(Suggestion(texts[best] if np.isfinite(promise[row, best]) else concept))
        return answers

    def _weights(self, batch: MutationBatch) -> FloatArray:
        """(b, words) a sample of each posterior. All sums are over one request's images, one request at a time."""
        seen = batch.seen.astype(np.float64)
        count = np.maximum(seen.sum(axis=1), 1)
        constant = batch.embeddings[..., -1].astype(np.float64)
        scale = np.divide(0.5, constant, out=np.zeros_like(constant), where=batch.seen & (constant > 0))
        words = batch.embeddings[..., :-1] * scale[..., None]  # (b, images, words), less chance
        words -= ((words.sum(axis=1) / count[:, None])[:, None]) * seen[..., None]
        # What was not seen may be anything, NaN too.
        activations = np.where(batch.seen, batch.activations, 0.0)
        activations = (activations - (activations.sum(axis=1) / count)[:, None]) * seen
        precision = np.swapaxes(words, 1, 2) @ words + self.prior * np.eye(words.shape[2])
        target = (np.swapaxes(words, 1, 2) @ activations[..., None])[..., 0]
        squares = np.square(activations).sum(axis=1)
        if self.probe:
            known, targets, real, number = self._known
            precision, target = precision + known, target + targets[batch.neurons]
            squares, count = squares + real[batch.neurons], count + number
        mean = np.linalg.solve(precision, target[..., None])[..., 0]
        rest = squares - (target * mean).sum(axis=1)
        # Where all images excite equally, chance decides.
        spread = np.sqrt(np.maximum(rest, 0) / count) + 1e-6
        noise = np.stack([rng.standard_normal(words.shape[2]) for rng in batch.rngs])
        root = np.swapaxes(np.linalg.cholesky(precision), 1, 2)
        sample = np.linalg.solve(root, noise[..., None])[..., 0]  # covariance: the inverse of the precision
        weights: FloatArray = mean + spread[:, None] * sample
        return weights
