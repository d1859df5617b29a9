"""Thompson sampling on a Bayesian linear model, shared by the mutators that model a neuron linearly."""

from __future__ import annotations

import numpy as np

from dnr_env.types import FloatArray, IntArray


def sample_weights(
    precision: FloatArray, target: FloatArray, squares: FloatArray, count: IntArray, noise: FloatArray
) -> FloatArray:
    """Draw weights from the posterior of each of b regressions.

    The posterior mean is that of a regression with a normal prior. The noise variance is estimated by its residuals.
    Source: Agrawal and Goyal 2013, "Thompson Sampling for Contextual Bandits with Linear Payoffs".

    Args:
        precision: (b, d, d) sum of the outer products of the inputs, plus the prior's precision in units of the noise.
        target: (b, d) sum of the inputs times the answers.
        squares: (b,) sum of the squared answers.
        count: (b,) number of answers.
        noise: (b, d) standard normal numbers.

    Returns:
        (b, d) weights.
    """
    # With the precision L Lᵀ, the covariance of L⁻ᵀ noise is its inverse; and L⁻ᵀ noise = (L Lᵀ)⁻¹ L noise, so that one
    # factorisation solves for both.
    noisy = np.linalg.cholesky(precision) @ noise[..., None]
    mean, sample = np.moveaxis(np.linalg.solve(precision, np.concatenate([target[..., None], noisy], axis=2)), 2, 0)
    rest = squares - (target * mean).sum(axis=1)
    # If all answers are equal, the small constant lets chance decide.
    spread = np.sqrt(np.maximum(rest, 0) / count) + 1e-6
    weights: FloatArray = mean + spread[:, None] * sample
    return weights
