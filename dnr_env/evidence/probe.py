"""The probe set, measured once: exemplars, the control set, and the scale that makes neurons comparable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np

from dnr_env.types import BoolArray, FloatArray, Images, IntArray

EXEMPLARS = 10
CONTROLS = 500
CLIP = 10.0
"""Normalised activations are clipped to the range from -CLIP to CLIP."""
STRONG = 0.99
"""The quantile of a neuron's activations above which an image is among its top 1%."""
_BLOCK_BYTES = 1 << 28  # bytes of float64 activations in memory at a time
_BLOCK_IMAGES = 8192  # images whose embeddings are converted to float64 at a time


class Probe:
    """The measured probe set, or a part of it.

    Args:
        fingerprint: identifies the images and the reader.
        activations: (measured, neurons) raw activations. A memory-mapped file is read block by block.
        embeddings: (measured, dim) unit embeddings.
        images: returns the measured images with some indices.
        describe: returns the name of a measured image, for instance its file; "" if it has no name.
        source: returns what tells the file of a measured image from others, wherever it lies. None: its index.
        rows: (images,) the measured images that are used; all of them by default. Nothing else is read.
        scale: the part whose typical image and exemplars make the scale; by default this one's do.
    """

    def __init__(
        self,
        fingerprint: str,
        activations: FloatArray,
        embeddings: FloatArray,
        images: Callable[[IntArray], Images],
        describe: Callable[[int], str] = lambda index: "",
        *,
        source: Callable[[int], str] | None = None,
        rows: IntArray | None = None,
        scale: Probe | None = None,
    ) -> None:
        self.fingerprint = fingerprint
        self._activations, self._embeddings = activations, embeddings
        self._images, self._describe = images, describe
        self._source = source or (lambda row: f"#{row}")
        self._chosen, self._rows = rows is not None, np.arange(len(activations)) if rows is None else rows
        self._scale = scale
        self._towards: dict[int, FloatArray] = {}
        self._strong: dict[int, float] = {}

    def part(self, name: str, rows: IntArray, scale: Probe | None = None) -> Probe:
        """The images with some indices (images,), in this order, on the scale of another part or on their own."""
        which = self._rows[rows]
        chosen = hashlib.sha256(which.astype("<i8").tobytes()).hexdigest()[:16]
        measured = self._activations, self._embeddings, self._images, self._describe
        fingerprint = f"{self.fingerprint} {name} {chosen}"
        return Probe(fingerprint, *measured, source=self._source, rows=which, scale=scale)

    def embedded(self, embeddings: FloatArray) -> Probe:
        """The same images with other embeddings (measured, dim)."""
        return Probe(self.fingerprint, self._activations, embeddings, self._images, self._describe, rows=self._rows)

    def __len__(self) -> int:
        """The number of images."""
        return len(self._rows)

    @property
    def neurons(self) -> IntArray:
        """(neurons,) the indices of all neurons."""
        return np.arange(self._activations.shape[1])

    @cached_property
    def embeddings(self) -> FloatArray:
        """(images, dim) unit embeddings."""
        return self._embeddings[self._rows] if self._chosen else self._embeddings

    def images(self, indices: IntArray) -> Images:
        """The images with some indices."""
        return self._images(self._rows[indices])

    def describe(self, index: int) -> str:
        """The name of an image; "" if it has none."""
        return self._describe(int(self._rows[index]))

    def sources(self) -> list[str]:
        """What tells the file of each image from others."""
        return [self._source(row) for row in self._rows.tolist()]

    def raw(self, images: IntArray, neurons: IntArray) -> FloatArray:
        """(images, neurons) the activations of some neurons on some images, as the target gives them."""
        return np.asarray(self._activations[np.ix_(self._rows[images], neurons)])

    def all_raw(self, neurons: IntArray) -> FloatArray:
        """(images, neurons) the same on all images."""
        return self.raw(np.arange(len(self)), neurons)

    def real(self, neurons: IntArray) -> FloatArray:
        """(b, images) float64 activations of some neurons on the real images.

        The activations of a neuron are all 0 if any of them is not finite.
        """
        rows = np.ascontiguousarray(self.all_raw(neurons).T, np.float64)
        return np.where(np.isfinite(rows).all(axis=1, keepdims=True), rows, 0.0)

    def blocks(self) -> Iterator[IntArray]:
        """Yield the neurons in blocks whose activations fit into memory."""
        size = max(1, _BLOCK_BYTES // (8 * len(self)))
        for start in range(0, len(self.neurons), size):
            yield self.neurons[start : start + size]

    @cached_property
    def _statistics(self) -> tuple[IntArray, FloatArray, FloatArray]:
        """The exemplars (neurons, EXEMPLARS), offset (neurons,) and unit (neurons,) of each neuron."""
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
        """(CONTROLS,) indices of the control set: a fixed random subset of the images, or all if there are fewer."""
        chosen: IntArray = np.sort(np.random.default_rng(0).permutation(len(self))[:CONTROLS])
        return chosen

    @cached_property
    def alive(self) -> BoolArray:
        """(neurons,) False for neurons that are constant or not finite where the scale comes from.

        Their normalised activations are all 0.
        """
        return np.isfinite((self._scale or self)._statistics[2])

    def broken(self, neuron: int) -> bool:
        """Whether an activation of a neuron is not finite."""
        return not np.isfinite(self.all_raw(np.array([neuron]))).all()

    def normalise(self, activations: FloatArray, neurons: IntArray) -> FloatArray:
        """Normalise to (a - median of the control set) / (mean of the exemplars - that median), float32.

        Control set and exemplars are those of the part that makes the scale.

        Args:
            activations: (b, ...) raw activations of neuron `neurons[i]`.
            neurons: (b,) indices.
        """
        shape = (-1,) + (1,) * (activations.ndim - 1)
        offset, unit = (part[neurons].reshape(shape) for part in (self._scale or self)._statistics[1:])
        with np.errstate(
            invalid="ignore", over="ignore"
        ):  # activations may be infinite, and so are dead neurons' units
            scaled = np.nan_to_num((activations - offset) / unit, nan=0.0)
        return np.clip(scaled, -CLIP, CLIP).astype(np.float32)

    @cached_property
    def controls(self) -> FloatArray:
        """(neurons, CONTROLS) normalised activations of the control set, sorted."""
        parts = [self.normalise(self.raw(self.control, part).T, part) for part in self.blocks()]
        return np.sort(np.concatenate(parts), axis=1)

    def strong(self, neurons: IntArray) -> FloatArray:
        """(b,) the normalised activation that only the top 1% of the images exceed, float32.

        Source: "SIEVE", arXiv 2603.24953, whose activation rate counts the drawings above it.
        """
        for neuron in set(neurons.tolist()) - self._strong.keys():
            self._strong[neuron] = float(np.quantile(self.real(np.array([neuron]))[0], STRONG))
        return self.normalise(np.array([self._strong[neuron] for neuron in neurons.tolist()]), neurons)

    def simulation(self, texts: FloatArray, neurons: IntArray) -> FloatArray:
        """Correlation over the images between the similarity of text i with an image and the activation of neuron i.

        It measures how well the text predicts which real images excite the neuron. A concept that is too narrow misses
        some of these images; a concept that is too broad includes others.

        Args:
            texts: (b, dim) embeddings.
            neurons: (b,) indices.

        Returns:
            (b,) between -1 and 1; 0 if a text is equally similar to all images, or a neuron is constant.
        """
        result: FloatArray = (texts * self.towards(neurons)).sum(axis=1) / self.spread(texts)
        return result

    def simulation_error(self, texts: FloatArray, neurons: IntArray) -> FloatArray:
        """(b,) the standard error of `simulation` over a random choice of the images, 0 where that is constant.

        See `correlation_error`.
        """
        errors = []
        for text, neuron in zip(texts, neurons.tolist(), strict=True):
            real = self.real(np.array([neuron]))[0]
            parts = [slice(start, start + _BLOCK_IMAGES) for start in range(0, len(real), _BLOCK_IMAGES)]
            errors.append(correlation_error(np.concatenate([self.embeddings[part] @ text for part in parts]), real))
        return np.array(errors)

    def spread(self, texts: FloatArray) -> FloatArray:
        """(b,) standard deviation of the similarities of texts (b, dim) with the images; infinite in place of 0."""
        centre, covariance = self._moments
        rows = texts.astype(np.float64)
        # Rows are multiplied one by one, so that the rounding of a result does not depend on the other rows.
        variance = (np.matmul(rows[:, None], covariance)[:, 0] * rows).sum(axis=1)
        rounding = 1e-10 * (1 + np.square((rows * centre).sum(axis=1)))
        return np.sqrt(np.where(variance > rounding, variance, np.inf))

    def towards(self, neurons: IntArray) -> FloatArray:
        """(b, dim) covariance of the embeddings with the standardised activations of some neurons; 0 if constant.

        The simulation of a text is the product of its embedding with this, divided by the text's `spread`.
        """
        for neuron in sorted(set(neurons.tolist()) - self._towards.keys()):
            real = self.real(np.array([neuron]))[0]
            spread = real.std() if np.ptp(real) > 0 else np.inf
            weights = (real - real.mean()) / spread / len(real)  # they sum to 0, so the embeddings need no centring
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

        The product of a row with an image's embedding is the image's mean cosine with the exemplars.
        """
        parts = [self.embeddings[self.exemplars[part]].mean(axis=1).astype(np.float32) for part in self.blocks()]
        return np.concatenate(parts)


def correlation_error(similarity: FloatArray, activations: FloatArray) -> float:
    """The standard error of the correlation of two arrays (images,) over a random choice of the images.

    It is the error of the correlation's influence function, xy - r (x² + y²) / 2 for standardised x and y.
    """
    x, y = standardised(similarity), standardised(activations)
    influence = x * y - (x * y).mean() * (x * x + y * y) / 2
    return float(influence.std(ddof=1) / np.sqrt(len(x)))


def standardised(values: FloatArray) -> FloatArray:
    """Rows of values (..., n) with mean 0 and deviation 1, float64; all 0 if they are equal but for rounding."""
    values = values.astype(np.float64)
    rounding = 1e-6 * (1e-30 + np.abs(values).max(axis=-1, keepdims=True))
    varies = np.ptp(values, axis=-1, keepdims=True) > rounding
    centred = values - values.mean(axis=-1, keepdims=True)
    standard: FloatArray = centred / np.where(varies, values.std(axis=-1, keepdims=True), np.inf)
    return standard
