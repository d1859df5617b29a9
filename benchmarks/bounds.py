"""The least number of images that can tell which of some concepts is best, from independent images and nothing else.

Garivier and Kaufmann 2016, "Optimal Best Arm Identification with Fixed Confidence". The noise is taken as Gaussian and
the same for all concepts; a score that is no mean of its images' values meets that only roughly. The bound is for
finding the very best of the concepts given, with all their images counted, those of the initial measurement included:
a label nearly as good may cost far less.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log

import numpy as np
from scipy.optimize import brentq


def complexity(means: Sequence[float], sigma: float) -> float:
    """The characteristic time T*, in images.

    1/T* is the maximum over the shares w of the images of min_a [w_1 w_a / (w_1 + w_a)] gap_a^2 / (2 sigma^2), with the
    best concept first and a any other.

    Where w is best, all a have the same value. In units in which the smallest gap is 1 and sigma^2 is 1/2, write that
    value as y w_1: then w_a = x_a w_1 with x_a = y / (gap_a^2 - y), and y is where the sum of x_a^2 is 1 (Theorem 5
    there, for Gaussians). The x of the smallest gap is at most 1, so y is at most 1/2.

    Args:
        means: (K,) true scores of the concepts.
        sigma: standard deviation of one image's score.

    Returns:
        0 for one concept, infinity where two are tied for the best.
    """
    ranked = np.sort(np.asarray(means, dtype=float))[::-1]
    gaps = ranked[0] - ranked[1:]
    if not len(gaps):
        return 0.0
    if gaps[0] == 0:
        return inf
    squares = (gaps / gaps[0]) ** 2
    y = brentq(lambda y: float(((y / (squares - y)) ** 2).sum()) - 1, 0.0, 0.5, xtol=1e-15)
    return float(2 * (sigma / gaps[0]) ** 2 * (1 + (y / (squares - y)).sum()) / y)


def least_images(means: Sequence[float], sigma: float, delta: float = 0.05) -> float:
    """The least expected number of images of any rule that errs with probability at most delta, whatever the means.

    T* kl(delta, 1 - delta), with kl the divergence of two coins.

    Args:
        means: (K,) true scores of the concepts.
        sigma: standard deviation of one image's score.
        delta: accepted probability of a wrong choice, between 0 and 1/2.
    """
    return complexity(means, sigma) * (1 - 2 * delta) * log((1 - delta) / delta)
