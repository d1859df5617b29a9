"""Means with intervals, over neurons and seeds.

A table of results is (members, seeds, neurons): members are the policies of the training seeds (one for a fixed loop),
seeds those of the episodes. Intervals are percentiles of a bootstrap that draws, each with replacement, members for
the whole table, neurons, and for each neuron seeds: they are about unseen neurons and training runs, not these.
Interquartile mean: Agarwal et al. 2021.
"""

from __future__ import annotations

from collections.abc import Iterator
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


def iqm(values: FloatArray) -> float:
    """Mean of the middle half."""
    return float(trim_mean(values, 0.25, axis=None))


def mean_interval(table: FloatArray, seed: int = 0) -> Interval:
    """Mean of (members, seeds, neurons) with its interval."""
    samples = np.concatenate([part.mean(axis=(1, 2, 3)) for part in _resampled(table, seed)])
    return _interval(float(table.mean()), samples)


def iqm_interval(table: FloatArray, seed: int = 0) -> Interval:
    """Interquartile mean of (members, seeds, neurons) with its interval."""
    samples = [trim_mean(part.reshape(len(part), -1), 0.25, axis=1) for part in _resampled(table, seed)]
    return _interval(iqm(table), np.concatenate(samples))


def _interval(estimate: float, samples: FloatArray) -> Interval:
    low, high = np.percentile(samples, (2.5, 97.5))
    return Interval(estimate, float(low), float(high))


def _resampled(table: FloatArray, seed: int, at_once: int = 100) -> Iterator[FloatArray]:
    """Bootstrap samples of a table: arrays (at_once, members, seeds, neurons)."""
    rng = np.random.default_rng(seed)
    members, seeds, neurons = table.shape
    for _ in range(RESAMPLES // at_once):
        member = rng.integers(members, size=(at_once, members, 1, 1))
        neuron = rng.integers(neurons, size=(at_once, 1, 1, neurons))
        run = rng.integers(seeds, size=(at_once, 1, seeds, neurons))
        yield table[member, run, neuron]
