"""Means with intervals, over neurons and seeds, and families of paired comparisons.

A table of results is (members, seeds, neurons): members are the policies of the training seeds (one for a fixed loop),
seeds those of the episodes. An episode seed stands for a block of drawings that all neurons and agents share, so its
luck is common to them, as is that of a training. Therefore the bootstrap draws members, seeds and neurons, each with
replacement and each for the whole table: the intervals are about unseen trainings, drawings and neurons, not these.

A cell counts in such a sample as often as its member was drawn, times its seed, times its neuron: the bootstrap of Owen
2007, "The pigeonhole bootstrap", and of Owen and Eckles 2012, "Bootstrapping data arrays of arbitrary order". Its
variance has the luck of members, of seeds and of neurons once, but that of pairs of them (a seed's on one neuron) three
times and that of single cells seven times (three with one member), so intervals are too wide where these matter. They
are too narrow where most of the variance is that of few units, as of any bootstrap: of n units it has (n - 1) / n of
the variance, and normal tails in the place of Student's. With ten units, an interval of 95% covers about 90%. The luck
of a single member or seed cannot be seen at all.

Interquartile mean, performance profiles and probability of improvement: Agarwal et al. 2021, "Deep Reinforcement
Learning at the Edge of the Statistical Precipice".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import trim_mean

from dnr_env.types import FloatArray, IntArray

RESAMPLES = 20_000
ALPHA = 0.05
_AT_ONCE = 200  # samples that are in memory together


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """A comparison of a family: its interval is at the level of Holm's procedure; p-values, alone and adjusted."""

    p: float
    adjusted: float


def iqm(values: FloatArray) -> float:
    """Mean of the middle half."""
    return float(trim_mean(values, 0.25, axis=None))


def mean_interval(table: FloatArray, seed: int = 0) -> Interval:
    """Mean of (members, seeds, neurons) with its interval."""
    samples = [_means(table, *drawn) for drawn in _draws(table.shape, seed)]
    return _interval(float(table.mean()), np.concatenate(samples))


def iqm_interval(table: FloatArray, seed: int = 0) -> Interval:
    """Interquartile mean of (members, seeds, neurons) with its interval."""
    order = np.argsort(table, axis=None)
    first = table.size // 4  # as many are left out at either end
    last = table.size - first
    samples = []
    for member, run, neuron in _draws(table.shape, seed):
        counts = np.einsum("bm,bs,bn->bmsn", member, run, neuron).reshape(len(member), -1)[:, order]
        inside = np.diff(np.clip(np.cumsum(counts, axis=1), first, last), axis=1, prepend=first)
        samples.append(inside @ table.ravel()[order] / (last - first))
    return _interval(iqm(table), np.concatenate(samples))


def difference_interval(ours: FloatArray, others: FloatArray, seed: int = 0) -> Interval:
    """Mean of one table less that of another, paired by neuron and episode seed.

    Both training runs are chance: the members of either are drawn anew.

    Args:
        ours: (members, seeds, neurons).
        others: (other members, seeds, neurons).
        seed: of the bootstrap.
    """
    return _interval(float(ours.mean() - others.mean()), _differences(ours, others, seed))


def holm_intervals(tables: Sequence[tuple[FloatArray, FloatArray]], seed: int = 0) -> list[Difference]:
    """One family of paired comparisons, corrected for their number m by Holm's procedure.

    A p-value is two-sided and of the bootstrap of `difference_interval`: the share of its samples at zero or beyond,
    (1 + count) / (1 + resamples), on the side where it is less, doubled. By Holm 1979, "A simple sequentially rejective
    multiple test procedure", hypotheses that a difference is zero are tested in the order of their p-values: the j-th,
    from 0, is rejected if its p-value is at most 0.05 / (m - j) and all before it are rejected. So an adjusted p-value
    is the largest of the (m - j) p up to its place, at most 1, and those of at most 0.05 are rejected.

    An interval has the level at which that procedure tests its difference: 1 - 0.05 / (m - min(j, r)), r being the
    number of the rejected. Equal p-values share the first place of theirs.

    What this guarantees, as far as the bootstrap holds: an interval leaves out zero if the adjusted p-value is at most
    0.05, and only then; and with a chance of at least 95%, no interval leaves out zero whose true difference is zero,
    whatever the others are. What it does not guarantee: that all m intervals cover the truth with a chance of 95%. They
    are Bonferroni-Holm adjusted, and those after the first are shorter than Bonferroni's, each at 1 - 0.05 / m, which
    guarantee it. For one-sided tests, bounds are known that guarantee it and agree with Holm's procedure: Strassburger
    and Bretz 2008, "Compatible simultaneous lower confidence bounds for the Holm procedure and other Bonferroni-based
    closed tests". They say no more of a rejected difference than its sign, unless all are rejected.

    How far the bootstrap holds so far out in the tails: of simulated families of 30 true zeros, with ten members of
    ours, ten seeds and 52 neurons, 3% had a rejection where the three kinds of luck had equal parts of the variance, 7%
    where neurons had most of it, and 31% where ten seeds had all of it (each of 150 families, 5% being due).

    Args:
        tables: pairs of ours (members, seeds, neurons) and others (other members, seeds, neurons), as many as 500:
            of more, no p-value could be small enough.
        seed: of the bootstrap.

    Returns:
        A difference a pair, in order.
    """
    samples = [_differences(ours, others, seed) for ours, others in tables]
    p = np.array([_p_value(of) for of in samples])
    ordered = np.sort(p)
    smaller = np.searchsorted(ordered, p)
    steps = len(p) - np.searchsorted(ordered, ordered)
    adjusted = np.minimum(1, np.maximum.accumulate(steps * ordered))[smaller]
    rejected = np.count_nonzero(adjusted <= ALPHA)
    alphas = ALPHA / (len(p) - np.minimum(smaller, rejected))
    found = []
    for i, (ours, others) in enumerate(tables):
        interval = _interval(float(ours.mean() - others.mean()), samples[i], alphas[i])
        found.append(
            Difference(interval.estimate, interval.low, interval.high, p=float(p[i]), adjusted=float(adjusted[i]))
        )
    return found


def profile(table: FloatArray, thresholds: FloatArray, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Performance profile: the share of runs whose value is above a threshold, with 95% intervals.

    Args:
        table: (members, seeds, neurons).
        thresholds: (k,) in the unit of the table.
        seed: of the bootstrap.

    Returns:
        (k,) shares, (k,) lower and (k,) upper ends; the intervals are of each threshold, not of the curve as a whole.
    """
    above = (table[..., None] > thresholds).astype(float)
    samples = [_means(above, *drawn) for drawn in _draws(table.shape, seed)]
    return above.mean(axis=(0, 1, 2)), *_ends(np.concatenate(samples))


def probability_of_improvement(ours: FloatArray, others: FloatArray, seed: int = 0) -> Interval:
    """P(a run of ours is better than one of theirs on the same neuron), mean over neurons; a tie counts half.

    All pairs of runs of a neuron are compared, whatever their episode seeds; the bootstrap draws members of each table,
    and seeds and neurons for both.

    Args:
        ours: (members, seeds, neurons).
        others: (other members, seeds, neurons).
        seed: of the bootstrap.
    """
    x, y = ours[:, None, :, None], others[None, :, None, :]
    wins = (x > y) + 0.5 * (x == y)  # (members, other members, seeds, seeds, neurons)
    members, other_members, seeds, _, neurons = wins.shape
    table = wins.reshape(members * other_members, seeds * seeds, neurons)
    samples = [
        _means(table, _pairs(member, other), _pairs(run, run), neuron)
        for member, other, run, neuron in _draws((members, other_members, seeds, neurons), seed)
    ]
    return _interval(float(wins.mean()), np.concatenate(samples))


def _differences(ours: FloatArray, others: FloatArray, seed: int) -> FloatArray:
    """(resamples,) bootstrap samples of the mean of ours less that of others."""
    # Both less one of theirs: where they are equal, samples are zero to the last digit, which decides a p-value.
    mine, theirs = ours - others[:1], others - others[:1]
    samples = [
        _means(mine, member, run, neuron) - _means(theirs, other, run, neuron)
        for member, other, run, neuron in _draws((len(ours), *others.shape), seed)
    ]
    return np.concatenate(samples)


def _p_value(samples: FloatArray) -> float:
    """Two-sided, of the hypothesis that the mean is zero."""
    beyond = min(np.count_nonzero(samples <= 0), np.count_nonzero(samples >= 0))
    return min(1.0, 2 * (1 + beyond) / (1 + len(samples)))


def _interval(estimate: float, samples: FloatArray, alpha: float = ALPHA) -> Interval:
    low, high = _ends(samples, alpha)
    return Interval(estimate, float(low), float(high))


def _ends(samples: FloatArray, alpha: float = ALPHA) -> tuple[FloatArray, FloatArray]:
    """Lower and upper end, of level 1 - alpha, of each column of samples (resamples, ...).

    They are the k-th least and greatest, k = alpha (1 + resamples) / 2: zero is beyond them where its `_p_value` is at
    most alpha, and only there.
    """
    k = max(1, int(alpha * (1 + len(samples)) / 2))
    ordered = np.sort(samples, axis=0)
    return ordered[k - 1], ordered[-k]


def _draws(sizes: Sequence[int], seed: int) -> Iterator[list[FloatArray]]:
    """How often bootstrap samples have each unit of some kinds, of which there are so many.

    Yields:
        (at once, size) counts for each of the sizes, a row a sample.
    """
    rng = np.random.default_rng(seed)
    for start in range(0, RESAMPLES, _AT_ONCE):
        rows = min(_AT_ONCE, RESAMPLES - start)
        yield [_counts(rng.integers(size, size=(rows, size)), size) for size in sizes]


def _counts(drawn: IntArray, size: int) -> FloatArray:
    """(b, size) how often each number below `size` occurs in each row of `drawn` (b, n)."""
    rows = len(drawn)
    places = drawn + size * np.arange(rows)[:, None]
    return np.bincount(places.ravel(), minlength=rows * size).reshape(rows, size).astype(float)


def _means(table: FloatArray, member: FloatArray, run: FloatArray, neuron: FloatArray) -> FloatArray:
    """Means (at once, ...) of the samples of a table (members, seeds, neurons, ...) that counts of `_draws` make."""
    # The longest sum first, as a product of matrices.
    sums = np.tensordot(neuron, table, (1, 2))
    means: FloatArray = np.einsum("bm,bs,bms...->b...", member, run, sums) / np.prod(table.shape[:3])
    return means


def _pairs(counts: FloatArray, others: FloatArray) -> FloatArray:
    """(at once, n * m) how often samples have each pair of units, of counts (at once, n) and (at once, m)."""
    return (counts[:, :, None] * others[:, None, :]).reshape(len(counts), -1)
