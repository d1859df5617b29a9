"""A joint normal model of one neuron's concepts, whose promises err alike."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dnr_env.types import FloatArray, IntArray

_NODES = np.linspace(-5, 5, 201)
_WEIGHTS = np.exp(-0.5 * np.square(_NODES)) / np.exp(-0.5 * np.square(_NODES)).sum()


class Evidence(NamedTuple):
    """What is known of the K concepts of one neuron."""

    promise: FloatArray
    """(K,) prior means of the values."""
    result: FloatArray
    """(K,) mean results of the drawings, as values; any number where nothing was drawn."""
    keeps: IntArray
    """(K,) the number of KEEPs of each."""
    deviation: FloatArray
    """(K,) the prior deviations of the values, as far as drawings can settle them."""
    noise: FloatArray
    """(K,) the variance of the result of one KEEP."""


class Joint:
    """The joint posterior of the values v of K concepts.

    With promises p, prior deviations d, noise variance N, and independent standard normal c, e and h,

        v_i = p_i + d_i (√ρ c + √(1-ρ) e_i),   result of one KEEP = v_i + √N_i h.

    ρ is the correlation of the promise's errors within a neuron: where all concepts are better than promised, one
    drawing tells so of all, and changes no choice. How far promises and drawings miss also differs from neuron to
    neuron, so all variances have an unknown factor τ² with an inverse gamma prior of ν degrees of freedom. With m
    results whose distances from the promises are r, with the covariance A, it is estimated by (ν + r' A⁻¹ r) / (ν + m).
    It changes no mean.

    Args:
        evidence: What is known.
        alike: ρ, 0 to 1.
        doubt: ν, more than 0.
    """

    def __init__(self, evidence: Evidence, alike: float, doubt: float) -> None:
        self.evidence = evidence
        drawn = np.flatnonzero(evidence.keeps)
        count = len(evidence.promise)
        prior = np.outer(evidence.deviation, evidence.deviation) * ((1 - alike) * np.eye(count) + alike)
        inverse = np.linalg.inv(prior[np.ix_(drawn, drawn)] + np.diag(evidence.noise[drawn] / evidence.keeps[drawn]))
        misses = (evidence.result - evidence.promise)[drawn]
        self.mean: FloatArray = evidence.promise + prior[:, drawn] @ inverse @ misses
        """(K,) posterior means of the values."""
        self.scale = (doubt + float(misses @ inverse @ misses)) / (doubt + len(drawn))
        """The estimate of τ²."""
        self.covariance: FloatArray = prior - prior[:, drawn] @ inverse @ prior[drawn]
        """(K, K) the posterior covariance of the values for τ² = 1."""

    def rises(self, look: int) -> FloatArray:
        """(K, look) the expected rise of the best posterior mean after 1, 2, ... further KEEPs of each concept.

        After k KEEPs of concept i the means are μ + b Z with Z standard normal and b = τ Σ_i / √(Σ_ii + N_i / k).
        E max(μ + b Z) is a sum over a grid of Z. Source: Frazier, Powell and Dayanik 2009, "The Knowledge-Gradient
        Policy for Correlated Normal Beliefs".
        """
        ahead = np.arange(1, look + 1)
        variance = np.diag(self.covariance)[:, None] + self.evidence.noise[:, None] / ahead
        change = np.sqrt(self.scale) * self.covariance[:, None] / np.sqrt(variance)[..., None]  # (K, look, K)
        best = (self.mean[:, None] + change[..., None] * _NODES).max(axis=2) @ _WEIGHTS
        rise: FloatArray = np.maximum(best - self.mean.max(), 0)
        return rise
