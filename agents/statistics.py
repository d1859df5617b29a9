"""Means with intervals, over neurons and seeds.

A table of results is (runs, neurons): a run is one training seed of a policy with one seed of the episodes. Intervals
are percentiles of a stratified bootstrap that draws neurons with replacement and, for each, runs with replacement: they
are about unseen neurons, not about these. Interquartile mean: Agarwal et al. 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import trim_mean

from dnr_env.types import FloatArray

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.4f} [{self.low:.4f}, {self.high:.4f}]"


def iqm(values: FloatArray) -> float:
    """Mean of the middle half."""
    return float(trim_mean(values, 0.25, axis=None))


def mean_interval(table: FloatArray, seed: int = 0) -> Interval:
    """Mean of (runs, neurons) with its interval."""
    samples = np.concatenate([part.mean(axis=(1, 2)) for part in _resampled(table, seed)])
    return _interval(float(table.mean()), samples)


def iqm_interval(table: FloatArray, seed: int = 0) -> Interval:
    """Interquartile mean of (runs, neurons) with its interval."""
    samples = [trim_mean(part.reshape(len(part), -1), 0.25, axis=1) for part in _resampled(table, seed)]
    return _interval(iqm(table), np.concatenate(samples))


def _interval(estimate: float, samples: FloatArray) -> Interval:
    low, high = np.percentile(samples, (2.5, 97.5))
    return Interval(estimate, float(low), float(high))


def _resampled(table: FloatArray, seed: int, at_once: int = 100) -> list[FloatArray]:
    """Bootstrap samples of a table: arrays (at_once, runs, neurons)."""
    rng = np.random.default_rng(seed)
    runs, neurons = table.shape
    parts = []
    for _ in range(RESAMPLES // at_once):
        which = rng.integers(neurons, size=(at_once, 1, neurons))
        run = rng.integers(runs, size=(at_once, runs, neurons))
        parts.append(table[run, which])
    return parts
