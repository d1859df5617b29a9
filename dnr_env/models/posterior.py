"""Thompson sampling on a Bayesian linear model: what both mutators that know a neuron by a linear model draw from."""

from __future__ import annotations

import numpy as np

from dnr_env.types import FloatArray, IntArray


def sample_weights(
    precision: FloatArray, target: FloatArray, squares: FloatArray, count: IntArray, noise: FloatArray
) -> FloatArray:
    """Draw weights from their posterior, one problem at a time.

    The mean is that of a regression with a normal prior, and the variance of the noise that of what it leaves over.
    Source: Agrawal and Goyal 2013, "Thompson Sampling for Contextual Bandits with Linear Payoffs".

    Args:
        precision: (b, d, d) inputs times inputs, with the prior's precision, in units of that of one answer.
        target: (b, d) inputs times answers.
        squares: (b,) sum of the squared answers.
        count: (b,) their number.
        noise: (b, d) standard normal numbers.

    Returns:
        (b, d).
    """
    mean = np.linalg.solve(precision, target[..., None])[..., 0]
    rest = squares - (target * mean).sum(axis=1)
    # Where all answers are equal, chance decides.
    spread = np.sqrt(np.maximum(rest, 0) / count) + 1e-6
    root = np.swapaxes(np.linalg.cholesky(precision), 1, 2)
    sample = np.linalg.solve(root, noise[..., None])[..., 0]  # covariance: the inverse of the precision
    weights: FloatArray = mean + spread[:, None] * sample
    return weights
