"""A histogram of a neuron's activations on the real images, as an inline picture of a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dnr_env.types import FloatArray, IntArray

BINS = 48
WIDTH, HEIGHT = 480, 90
"""Of the plot, in pixels."""


@dataclass(frozen=True)
class Histogram:
    """Bars whose height is the logarithm of a count, and marks at some activations. Places are in pixels."""

    bars: list[tuple[float, float]]
    """(left edge, height) of each bin that is not empty; its width is `WIDTH / BINS`."""
    marks: list[tuple[float, str]]
    """(place, name)."""
    low: float
    """The weakest activation, at the left edge."""
    high: float
    """The strongest activation, at the right edge."""
    most: int
    """The count of the highest bar."""


def counted(activations: FloatArray) -> tuple[IntArray, FloatArray]:
    """Count activations (n,) in BINS equal bins from the weakest to the strongest: counts, and edges (BINS + 1,)."""
    counts, edges = np.histogram(activations, BINS)
    return counts, edges


def histogram(activations: FloatArray, marks: Mapping[str, float]) -> Histogram:
    """Lay out the histogram of activations (n,) with a named mark at each of some activations."""
    counts, edges = counted(activations)
    low, high = float(edges[0]), float(edges[-1])
    heights = HEIGHT * np.log1p(counts) / np.log1p(counts.max())
    return Histogram(
        [(round(place * WIDTH / BINS, 1), round(float(heights[place]), 1)) for place in np.flatnonzero(counts)],
        [(round(WIDTH * (value - low) / (high - low), 1), name) for name, value in marks.items()],
        low,
        high,
        int(counts.max()),
    )
