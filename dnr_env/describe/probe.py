"""The probe set, measured once: exemplars, the control set, and the scale that makes neurons comparable."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from dnr_env.types import BoolArray, FloatArray, ImageArray, IntArray

EXEMPLARS = 10
CONTROLS = 500
CLIP = 10.0
"""Normalised activations are kept between -CLIP and CLIP."""


class Probe:
    """Real images and what the target does on them.

    Args:
        fingerprint: names the images and the reader.
        activations: (images, neurons) raw activations.
        embeddings: (images, dim) unit embeddings.
        images: gives the images of some indices, (n, height, width, 3) uint8.
    """

    def __init__(
        self,
        fingerprint: str,
        activations: FloatArray,
        embeddings: FloatArray,
        images: Callable[[IntArray], ImageArray],
    ) -> None:
        self.fingerprint = fingerprint
        self.activations = activations
        self.embeddings = embeddings
        self.images = images
        self.cleaned: FloatArray = np.where(np.isfinite(activations).all(axis=0), activations.astype(np.float64), 0.0)
        """(images, neurons) float64; a neuron that is not finite everywhere has no strongest images and counts as 0."""

    @cached_property
    def exemplars(self) -> IntArray:
        """(neurons, EXEMPLARS) indices of the images that excite each neuron most, strongest first."""
        return np.argsort(-self.cleaned, axis=0, kind="stable")[:EXEMPLARS].T

    @cached_property
    def control(self) -> IntArray:
        """(CONTROLS,) indices of the control set, a fixed random part of the images."""
        chosen: IntArray = np.sort(np.random.default_rng(0).permutation(len(self.activations))[:CONTROLS])
        return chosen

    @cached_property
    def _scale(self) -> tuple[FloatArray, FloatArray]:
        offset = np.median(self.cleaned[self.control], axis=0)
        strongest = np.take_along_axis(self.cleaned, self.exemplars.T, axis=0).mean(axis=0)
        unit = strongest - offset
        rounding = 1e-6 * np.maximum(np.abs(offset), np.abs(strongest))
        return offset, np.where(unit > rounding, unit, np.inf)

    @cached_property
    def alive(self) -> BoolArray:
        """(neurons,) bool: False for dead, constant and NaN neurons, whose normalised activations are all 0."""
        return np.isfinite(self._scale[1])

    def normalise(self, activations: FloatArray, neurons: IntArray) -> FloatArray:
        """A ↦ (a - median of the control set) / (mean of the exemplars - that median), float32.

        Args:
            activations: (b, ...) raw activations of neuron `neurons[i]`.
            neurons: (b,) indices.
        """
        shape = (-1,) + (1,) * (activations.ndim - 1)
        offset, unit = (part[neurons].reshape(shape) for part in self._scale)
        with np.errstate(invalid="ignore", over="ignore"):  # infinite activations, and those of dead neurons
            scaled = np.nan_to_num((activations - offset) / unit, nan=0.0)
        return np.clip(scaled, -CLIP, CLIP).astype(np.float32)

    @cached_property
    def controls(self) -> FloatArray:
        """(neurons, CONTROLS) normalised activations of the control set, sorted."""
        return np.sort(self.normalise(self.activations[self.control].T, np.arange(self.activations.shape[1])), axis=1)

    @cached_property
    def exemplar_embeddings(self) -> FloatArray:
        """(neurons, dim) float32, the mean embedding of each neuron's exemplars.

        Its product with an image's embedding is the mean cosine with the exemplars.
        """
        mean: FloatArray = self.embeddings[self.exemplars].mean(axis=1).astype(np.float32)
        return mean
