"""What a concept covers of the real images: how much of the neuron's activity, and how much else."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dnr_env.types import BoolArray, FloatArray

_STRONGEST = 5
_SHARE = 2 / 3


class Cover(NamedTuple):
    """How concepts cover the activity of neurons, each (b,) float64."""

    coverage: FloatArray
    """The share of the neuron's excitement that lies on covered images, 0 to 1."""
    coverage_error: FloatArray
    precision: FloatArray
    """The mean excitement of covered images, 0 to 1; 1 is as strong as the exemplars."""
    precision_error: FloatArray


def covered(embeddings: FloatArray, texts: FloatArray) -> BoolArray:
    """Which images are much more similar to a text than images usually are.

    An image is covered if its similarity lies more than two thirds of the way from the mean over all images to the mean
    of the five largest. A text that is equally similar to all images covers none.

    Args:
        embeddings: (images, dim) unit embeddings of the images.
        texts: (b, dim) unit embeddings.

    Returns:
        (b, images). A row does not depend on the other texts.
    """
    rows = np.empty((len(texts), len(embeddings)), np.bool_)
    for row, text in enumerate(texts):
        # One product per text, so that its rounding does not depend on the other texts.
        similarity = (embeddings @ text.astype(embeddings.dtype)).astype(np.float64)
        usual = similarity.mean()
        strongest = np.sort(np.partition(similarity, -min(_STRONGEST, len(similarity)))[-_STRONGEST:]).mean()
        rows[row] = similarity > usual + _SHARE * (strongest - usual)
    return rows


def cover(shown: BoolArray, excited: FloatArray) -> Cover:
    """Coverage and precision with their standard errors over a random choice of the images.

    The error of the precision is that of a mean; with fewer than two covered images it is 1, as nothing is known of it.
    That of the coverage, a ratio of sums, is the error of its influence function (Cochran 1977, section 6.4).

    Args:
        shown: (b, images) which images the concept covers.
        excited: (b, images) excitement from 0 to 1.
    """
    images = shown.shape[1]
    number, total = shown.sum(axis=1), excited.sum(axis=1)
    inside = np.where(shown, excited, 0.0)
    found, squares = inside.sum(axis=1), np.square(inside).sum(axis=1)
    some = np.maximum(number, 1)
    precision = found / some
    spread = np.maximum(squares / some - np.square(precision), 0) / np.maximum(number - 1, 1)
    precision_error = np.where(number > 1, np.sqrt(spread), 1.0)
    active = np.where(total > 0, total, np.inf)
    coverage = found / active
    # The influence of an image is x · (covered - coverage) / mean x. Its sum over the images is 0.
    all_squares = np.square(excited).sum(axis=1)
    influence = squares * (1 - 2 * coverage) + np.square(coverage) * all_squares
    coverage_error = np.sqrt(np.maximum(influence, 0) * images / max(images - 1, 1)) / active
    return Cover(coverage, coverage_error, precision, precision_error)
