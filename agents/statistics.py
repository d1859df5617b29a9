"""Means with intervals, over neurons and seeds.

A table of results is (members, seeds, neurons): members are the policies of the training seeds (one for a fixed loop),
seeds those of the episodes. Intervals are percentiles of a bootstrap that draws, each with replacement, members for
the whole table, neurons, and for each neuron seeds: they are about unseen neurons and training runs, not these.
Interquartile mean, performance profiles and probability of improvement: Agarwal et al. 2021, "Deep Reinforcement
Learning at the Edge of the Statistical Precipice".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import trim_mean

from dnr_env.types import FloatArray, IntArray

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


def difference_interval(ours: FloatArray, others: FloatArray, seed: int = 0) -> Interval:
    """Mean of one table less that of another, paired by neuron and episode seed.

    Both training runs are chance: the members of either are drawn anew.

    Args:
        ours: (members, seeds, neurons).
        others: (other members, seeds, neurons).
        seed: of the bootstrap.
    """
    rng = np.random.default_rng(seed + 1)
    samples = []
    for member, run, neuron in _draws(ours.shape, seed):
        other = rng.integers(len(others), size=(len(run), len(others), 1, 1))
        samples.append(ours[member, run, neuron].mean(axis=(1, 2, 3)) - others[other, run, neuron].mean(axis=(1, 2, 3)))
    return _interval(float(ours.mean() - others.mean()), np.concatenate(samples))


def profile(table: FloatArray, thresholds: FloatArray, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Performance profile: the share of runs whose value is above a threshold, with 95% intervals.

    Args:
        table: (members, seeds, neurons).
        thresholds: (k,) in the unit of the table.
        seed: of the bootstrap.

    Returns:
        (k,) shares, (k,) lower and (k,) upper ends; the intervals are of each threshold, not of the curve as a whole.
    """
    members, seeds, neurons = table.shape
    above = (table.reshape(members, -1, 1) > thresholds).astype(float)  # (members, cells, k)
    samples = []
    for member, run, neuron in _draws(table.shape, seed):
        # How often each member and each cell was drawn is all that a mean depends on, and makes it a product.
        cells = _counts(run * neurons + neuron, seeds * neurons)
        samples.append(np.einsum("bm,mbk->bk", _counts(member, members), cells @ above) / table.size)
    low, high = np.percentile(np.concatenate(samples), (2.5, 97.5), axis=0)
    return above.mean(axis=(0, 1)), low, high


def probability_of_improvement(ours: FloatArray, others: FloatArray, seed: int = 0) -> Interval:
    """P(a run of ours is better than one of theirs on the same neuron), mean over neurons; a tie counts half.

    All pairs of runs of a neuron are compared, whatever their episode seeds; the bootstrap draws members and seeds of
    each table, and neurons for both.

    Args:
        ours: (members, seeds, neurons).
        others: (other members, other seeds, neurons).
        seed: of the bootstrap.
    """
    (m, s, neurons), (other_m, other_s, _) = ours.shape, others.shape
    x, y = ours.transpose(0, 2, 1)[:, None, :, :, None], others.transpose(0, 2, 1)[None, :, :, None, :]
    # (m, other_m, neurons, s, other_s), single precision: sums of so few halves are exact.
    wins = (x > y).astype(np.float32) + np.float32(0.5) * (x == y)
    by_members = wins.reshape(m * other_m, -1)
    samples = []
    for (member, run, neuron), (other, other_run, _) in zip(
        _draws(ours.shape, seed), _draws(others.shape, seed + 1), strict=True
    ):
        drawn = _counts(member, m)[:, :, None] * _counts(other, other_m)[:, None, :]
        won = drawn.reshape(len(drawn), -1).astype(np.float32) @ by_members
        won = won.reshape(-1, neurons, s, other_s)
        row = np.arange(len(won))[:, None, None, None]
        chosen = won[row, neuron, run.transpose(0, 2, 1, 3), other_run]  # (at_once, s, other_s, neurons)
        samples.append(chosen.mean(axis=(1, 2, 3), dtype=float) / (m * other_m))
    return _interval(float(wins.mean(dtype=float)), np.concatenate(samples))


def _interval(estimate: float, samples: FloatArray) -> Interval:
    low, high = np.percentile(samples, (2.5, 97.5))
    return Interval(estimate, float(low), float(high))


def _resampled(table: FloatArray, seed: int) -> Iterator[FloatArray]:
    """Bootstrap samples of a table: arrays (at_once, members, seeds, neurons)."""
    for member, run, neuron in _draws(table.shape, seed):
        yield table[member, run, neuron]


def _draws(shape: tuple[int, ...], seed: int, at_once: int = 100) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """What bootstrap samples of a table (members, seeds, neurons) are made of.

    Yields:
        members (at_once, members, 1, 1), seeds (at_once, 1, seeds, neurons) and neurons (at_once, 1, 1, neurons).
    """
    rng = np.random.default_rng(seed)
    members, seeds, neurons = shape
    for _ in range(RESAMPLES // at_once):
        member = rng.integers(members, size=(at_once, members, 1, 1))
        neuron = rng.integers(neurons, size=(at_once, 1, 1, neurons))
        run = rng.integers(seeds, size=(at_once, 1, seeds, neurons))
        yield member, run, neuron


def _counts(drawn: IntArray, size: int) -> FloatArray:
    """(b, size) how often each number below `size` occurs in each row of `drawn` (b, ...)."""
    rows = len(drawn)
    places = drawn.reshape(rows, -1) + size * np.arange(rows)[:, None]
    return np.bincount(places.ravel(), minlength=rows * size).reshape(rows, size).astype(float)
