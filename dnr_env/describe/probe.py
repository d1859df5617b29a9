"""The probe set, measured once: exemplars, the control set, and the scale that makes neurons comparable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np

from dnr_env.types import BoolArray, FloatArray, Images, IntArray

EXEMPLARS = 10
CONTROLS = 500
CLIP = 10.0
"""Normalised activations are kept between -CLIP and CLIP."""
_BLOCK_BYTES = 1 << 28  # of float64 activations that are in memory at a time
_BLOCK_IMAGES = 8192  # of which embeddings are float64 at a time


class Probe:
    """Real images and what the target does on them.

    Args:
        fingerprint: names the images and the reader.
        activations: (images, neurons) raw activations; may be a memory-mapped file, of which blocks are read.
        embeddings: (images, dim) unit embeddings.
        images: gives the images of some indices.
    """

    def __init__(
        self,
        fingerprint: str,
        activations: FloatArray,
        embeddings: FloatArray,
        images: Callable[[IntArray], Images],
    ) -> None:
        self.fingerprint = fingerprint
        self.activations = activations
        self.embeddings = embeddings
        self.images = images
        self._towards: dict[int, FloatArray] = {}

    def real(self, neurons: IntArray) -> FloatArray:
        """(b, images) float64 activations of some neurons on the real images.

        A neuron that is not finite everywhere has no strongest images and counts as 0.
        """
        rows = np.ascontiguousarray(self.activations[:, neurons].T, np.float64)
        return np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, 0.0)

    def blocks(self) -> Iterator[IntArray]:
        """The neurons, as many at a time as fit into memory."""
        images, neurons = self.activations.shape
        size = max(1, _BLOCK_BYTES // (8 * images))
        for start in range(0, neurons, size):
            yield np.arange(start, min(start + size, neurons))

    @cached_property
    def _statistics(self) -> tuple[IntArray, FloatArray, FloatArray]:
        """Each neuron's exemplars (neurons, EXEMPLARS), offset and unit (neurons,)."""
        parts = []
        for neurons in self.blocks():
            real = self.real(neurons)
            exemplars = np.argsort(-real, axis=1, kind="stable")[:, :EXEMPLARS]
            offset = np.median(real[:, self.control], axis=1)
            strongest = np.take_along_axis(real, exemplars, axis=1).mean(axis=1)
            unit = strongest - offset
            rounding = 1e-6 * np.maximum(np.abs(offset), np.abs(strongest))
            parts.append((exemplars, offset, np.where(unit > rounding, unit, np.inf)))
        exemplars, offsets, units = (np.concatenate(part) for part in zip(*parts, strict=True))
        return exemplars, offsets, units

    @property
    def exemplars(self) -> IntArray:
        """(neurons, EXEMPLARS) indices of the images that excite each neuron most, strongest first."""
        return self._statistics[0]

    @cached_property
    def control(self) -> IntArray:
        """(CONTROLS,) indices of the control set, a fixed random part of the images; all where there are fewer."""
        chosen: IntArray = np.sort(np.random.default_rng(0).permutation(len(self.activations))[:CONTROLS])
        return chosen

    @cached_property
    def alive(self) -> BoolArray:
        """(neurons,) bool: False for dead, constant and NaN neurons, whose normalised activations are all 0."""
        return np.isfinite(self._statistics[2])

    def normalise(self, activations: FloatArray, neurons: IntArray) -> FloatArray:
        """A ↦ (a - median of the control set) / (mean of the exemplars - that median), float32.

        Args:
            activations: (b, ...) raw activations of neuron `neurons[i]`.
            neurons: (b,) indices.
        """
        shape = (-1,) + (1,) * (activations.ndim - 1)
        offset, unit = (part[neurons].reshape(shape) for part in self._statistics[1:])
        with np.errstate(invalid="ignore", over="ignore"):  # infinite activations, and those of dead neurons
            scaled = np.nan_to_num((activations - offset) / unit, nan=0.0)
        return np.clip(scaled, -CLIP, CLIP).astype(np.float32)

    @cached_property
    def controls(self) -> FloatArray:
        """(neurons, CONTROLS) normalised activations of the control set, sorted."""
        parts = [self.normalise(self.activations[np.ix_(self.control, part)].T, part) for part in self.blocks()]
        return np.sort(np.concatenate(parts), axis=1)

    def simulation(self, texts: FloatArray, neurons: IntArray) -> FloatArray:
        """Correlation, over the images, of text i's similarity with an image and the activation of neuron i.

        How well the text, in the place of the neuron, foretells which real images excite it. A concept that is too
        narrow misses some of these images, one that is too broad promises others.

        Args:
            texts: (b, dim) embeddings.
            neurons: (b,) indices.

        Returns:
            (b,) between -1 and 1; 0 where a text is as similar to all images, or a neuron constant.
        """
        result: FloatArray = (texts * self.towards(neurons)).sum(axis=1) / self.spread(texts)
        return result

    def spread(self, texts: FloatArray) -> FloatArray:
        """(b,) standard deviation of the similarities of texts (b, dim) with the images; infinite where it is 0."""
        centre, covariance = self._moments
        rows = texts.astype(np.float64)
        # Row by row: the last digits must not depend on who else is asked about.
        variance = (np.matmul(rows[:, None], covariance)[:, 0] * rows).sum(axis=1)
        rounding = 1e-10 * (1 + np.square((rows * centre).sum(axis=1)))
        return np.sqrt(np.where(variance > rounding, variance, np.inf))

    def towards(self, neurons: IntArray) -> FloatArray:
        """(b, dim) covariance of the embeddings with the standardised activations of some neurons; 0 for constant ones.

        Its product with a text's embedding, over the text's `spread`, is the simulation.
        """
        for neuron in sorted(set(neurons.tolist()) - self._towards.keys()):
            real = self.real(np.array([neuron]))[0]
            spread = real.std() if np.ptp(real) > 0 else np.inf
            weights = (real - real.mean()) / spread / len(real)  # their sum is 0: no need to centre the embeddings
            parts = [slice(start, start + _BLOCK_IMAGES) for start in range(0, len(real), _BLOCK_IMAGES)]
            self._towards[neuron] = np.sum([weights[part] @ self.embeddings[part] for part in parts], axis=0)
        known = [self._towards[neuron] for neuron in neurons.tolist()]
        return np.reshape(known, (len(known), self.embeddings.shape[1]))

    @cached_property
    def _moments(self) -> tuple[FloatArray, FloatArray]:
        """(dim,) mean and (dim, dim) covariance of the embeddings."""
        centre = self.embeddings.mean(axis=0, dtype=np.float64)
        centred = self.embeddings - centre
        return centre, centred.T @ centred / len(centred)

    @cached_property
    def exemplar_embeddings(self) -> FloatArray:
        """(neurons, dim) float32, the mean embedding of each neuron's exemplars.

        Its product with an image's embedding is the mean cosine with the exemplars.
        """
        parts = [self.embeddings[self.exemplars[part]].mean(axis=1).astype(np.float32) for part in self.blocks()]
        return np.concatenate(parts)
