"""Means with confidence intervals over neurons and seeds, and families of paired comparisons.

A table of results has the axes (members, seeds, neurons). Members are the policies of the training seeds (one for a
fixed loop), and seeds are those of the episodes. All neurons and agents share the drawings of an episode seed, so its
random effect is common to them. The same holds for a training. Therefore the bootstrap resamples members, seeds and
neurons, each for the whole table. The intervals refer to unseen trainings, drawings and neurons.

The weight of a cell in a sample is the product of the counts of its member, seed and neuron. This is the bootstrap of
Owen 2007, "The pigeonhole bootstrap", and of Owen and Eckles 2012, "Bootstrapping data arrays of arbitrary order". Its
variance has the effects of members, seeds and neurons once, but the interactions of two (of a seed with a neuron) three
times and those of all three seven times (three times with one member). Intervals are too wide if these matter. As with
any bootstrap, intervals are too narrow if few units have most of the variance: with n units it has (n - 1) / n of the
variance, and normal tails instead of Student's. With ten units, a 95% interval covers about 90%. The effect of a single
member or seed cannot be estimated at all.

Where the neurons are of several networks, `networks` says how many there are in each world, such as (6, 6). The neurons
of one network stand together in the last axis, those of one world too, and every network has as many. The bootstrap
resamples the networks of each world and, in each drawn network, its neurons, so that intervals also refer to unseen
networks. Worlds are not resampled. The variance between the neurons of a network counts nearly twice (Davison and
Hinkley 1997, "Bootstrap Methods and their Application", section 3.8), that between networks as for any units. In
simulations with two worlds of six networks of 30 neurons, 95% intervals covered 98% where neurons had nearly all of the
variance, 93% where a network's effect had 0.3 of the deviation of a neuron's, and 89% where networks had all of it (400
tables each). In the first two cases, 1% and 6% of families of ten true zeros had a rejection by `holm_intervals` (120
families each).

Interquartile mean, performance profiles and probability of improvement: Agarwal et al. 2021, "Deep Reinforcement
Learning at the Edge of the Statistical Precipice".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dnr_env.types import FloatArray, IntArray

Networks = Sequence[int]
"""The number of networks of each world."""
ONE: Networks = (1,)
"""One network."""
RESAMPLES = 20_000
ALPHA = 0.05
_AT_ONCE = 200  # samples in memory


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """A comparison of a family. The level of its interval follows Holm's procedure."""

    p: float
    """Its p-value, not adjusted."""
    adjusted: float
    """Its p-value, adjusted by Holm's procedure."""


def iqm(values: FloatArray) -> float:
    """Compute the interquartile mean, which is the mean of the middle half."""
    from scipy.stats import trim_mean  # SciPy is slow to import

    return float(trim_mean(values, 0.25, axis=None))


def mean_interval(table: FloatArray, seed: int = 0, networks: Networks = ONE) -> Interval:
    """Compute the mean of a table (members, seeds, neurons) with its interval."""
    return interval_of(float(table.mean()), resampled([table], seed, networks)[0])


def resampled(tables: Sequence[FloatArray], seed: int = 0, networks: Networks = ONE) -> FloatArray:
    """Draw bootstrap samples (tables, resamples, ...) of the means of tables.

    Seeds and neurons are resampled alike for all tables, and the members of each table independently.

    Args:
        tables: Tables (members, seeds, neurons, ...), which may differ in their members.
        seed: The seed of the bootstrap.
        networks: The number of networks of each world.
    """
    sizes = [*(len(table) for table in tables), *tables[0].shape[1:3]]
    samples = [
        [_means(table, member, run, neuron) for table, member in zip(tables, members, strict=True)]
        for *members, run, neuron in _draws(sizes, seed, networks)
    ]
    return np.concatenate(samples, axis=1)


def iqm_interval(table: FloatArray, seed: int = 0) -> Interval:
    """Compute the interquartile mean of a table (members, seeds, neurons) with its interval."""
    order = np.argsort(table, axis=None)
    first = table.size // 4  # cells that are left out at each end
    last = table.size - first
    samples = []
    for member, run, neuron in _draws(table.shape, seed):
        counts = np.einsum("bm,bs,bn->bmsn", member, run, neuron).reshape(len(member), -1)[:, order]
        inside = np.diff(np.clip(np.cumsum(counts, axis=1), first, last), axis=1, prepend=first)
        samples.append(inside @ table.ravel()[order] / (last - first))
    return interval_of(iqm(table), np.concatenate(samples))


def difference_interval(ours: FloatArray, others: FloatArray, seed: int = 0, networks: Networks = ONE) -> Interval:
    """Compute the difference of the means of two tables, paired by neuron and episode seed.

    The members of the two tables are resampled independently.

    Args:
        ours: (members, seeds, neurons).
        others: (other members, seeds, neurons).
        seed: The seed of the bootstrap.
        networks: The number of networks of each world.
    """
    return interval_of(float(ours.mean() - others.mean()), _differences(ours, others, seed, networks))


def holm_intervals(
    tables: Sequence[tuple[FloatArray, FloatArray]], seed: int = 0, networks: Networks = ONE
) -> list[Difference]:
    """Compute a family of paired comparisons, corrected for their number m by Holm's procedure.

    A p-value is two-sided. It is twice the smaller tail of the bootstrap of `difference_interval` at zero, where a tail
    is (1 + samples at or beyond zero) / (1 + samples). Holm 1979, "A simple sequentially rejective multiple test
    procedure", tests the hypotheses of zero difference in the order of their p-values. Hypothesis j, counted from 0, is
    rejected if its p-value is at most 0.05 / (m - j) and all before it are rejected. Therefore an adjusted p-value is
    the largest (m - j) p up to its place, at most 1, and those of at most 0.05 are rejected.

    An interval has the level at which the procedure tests its difference: 1 - 0.05 / (m - min(j, r)), where r is the
    number of rejections. Equal p-values share the lowest of their places.

    If the bootstrap holds, an interval excludes zero exactly if the adjusted p-value is at most 0.05. With probability
    95% or more, no interval of a true zero difference excludes zero, whatever the other differences are. It is not
    guaranteed that all m intervals cover the truth with probability 95%. Bonferroni's intervals, each of level
    1 - 0.05 / m, would guarantee it, but all of them are as wide as the widest here. For one-sided tests, Strassburger
    and Bretz 2008, "Compatible simultaneous lower confidence bounds for the Holm procedure and other Bonferroni-based
    closed tests", give bounds that guarantee it and agree with Holm's procedure. Unless all differences are rejected,
    they only give the sign of a rejected difference.

    The bootstrap is approximate so far in the tails. In simulated families of 30 true zeros, with ten members of ours,
    ten seeds and 52 neurons, the rate of families with a rejection was 3% if members, seeds and neurons had equal
    shares of the variance, 7% if neurons had most of it, and 31% if ten seeds had all of it (150 families each; the
    nominal rate is 5%).

    Args:
        tables: Pairs of ours (members, seeds, neurons) and others (other members, seeds, neurons). At most 500 pairs
            are useful, because the smallest p-value is limited by the number of samples.
        seed: The seed of the bootstrap.
        networks: The number of networks of each world.

    Returns:
        The difference of each pair, in order.
    """
    estimates = [float(ours.mean() - others.mean()) for ours, others in tables]
    return holm_of(estimates, [_differences(ours, others, seed, networks) for ours, others in tables])


def holm_of(estimates: Sequence[float], samples: Sequence[FloatArray]) -> list[Difference]:
    """Do as `holm_intervals`, from the estimate and the bootstrap samples (resamples,) of each difference."""
    p = np.array([_p_value(of) for of in samples])
    ordered = np.sort(p)
    smaller = np.searchsorted(ordered, p)
    steps = len(p) - np.searchsorted(ordered, ordered)
    adjusted = np.minimum(1, np.maximum.accumulate(steps * ordered))[smaller]
    rejected = np.count_nonzero(adjusted <= ALPHA)
    alphas = ALPHA / (len(p) - np.minimum(smaller, rejected))
    found = []
    for i, estimate in enumerate(estimates):
        interval = interval_of(estimate, samples[i], alphas[i])
        found.append(Difference(estimate, interval.low, interval.high, p=float(p[i]), adjusted=float(adjusted[i])))
    return found


def profile(table: FloatArray, thresholds: FloatArray, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Compute a performance profile: the share of runs whose value is above a threshold, with 95% intervals.

    Args:
        table: (members, seeds, neurons).
        thresholds: (k,) in the unit of the table.
        seed: The seed of the bootstrap.

    Returns:
        Shares (k,), lower ends (k,) and upper ends (k,). Each interval refers to one threshold, not to the whole curve.
    """
    above = (table[..., None] > thresholds).astype(float)
    samples = [_means(above, *drawn) for drawn in _draws(table.shape, seed)]
    return above.mean(axis=(0, 1, 2)), *_ends(np.concatenate(samples))


def probability_of_improvement(ours: FloatArray, others: FloatArray, seed: int = 0) -> Interval:
    """Estimate P(a run of ours is better than one of theirs on the same neuron), as a mean over neurons.

    All pairs of runs of a neuron are compared, whatever their episode seeds, and a tie counts half. The bootstrap
    resamples the members of each table separately, and seeds and neurons for both.

    Args:
        ours: (members, seeds, neurons).
        others: (other members, seeds, neurons).
        seed: The seed of the bootstrap.
    """
    x, y = ours[:, None, :, None], others[None, :, None, :]
    wins = (x > y) + 0.5 * (x == y)  # (members, other members, seeds, seeds, neurons)
    members, other_members, seeds, _, neurons = wins.shape
    table = wins.reshape(members * other_members, seeds * seeds, neurons)
    samples = [
        _means(table, _pairs(member, other), _pairs(run, run), neuron)
        for member, other, run, neuron in _draws((members, other_members, seeds, neurons), seed)
    ]
    return interval_of(float(wins.mean()), np.concatenate(samples))


def _differences(ours: FloatArray, others: FloatArray, seed: int, networks: Networks) -> FloatArray:
    """Draw bootstrap samples (resamples,) of the mean of ours minus that of others."""
    # One of theirs is subtracted from both: for equal tables the samples are exactly zero, which the p-value needs.
    mine, theirs = resampled((ours - others[:1], others - others[:1]), seed, networks)
    differences: FloatArray = mine - theirs
    return differences


def _p_value(samples: FloatArray) -> float:
    """Compute the two-sided p-value of the hypothesis that the mean is zero."""
    beyond = min(np.count_nonzero(samples <= 0), np.count_nonzero(samples >= 0))
    return min(1.0, 2 * (1 + beyond) / (1 + len(samples)))


def interval_of(estimate: float, samples: FloatArray, alpha: float = ALPHA) -> Interval:
    """Make the interval of level 1 - alpha of an estimate, from its bootstrap samples (resamples,)."""
    low, high = _ends(samples, alpha)
    return Interval(estimate, float(low), float(high))


def _ends(samples: FloatArray, alpha: float = ALPHA) -> tuple[FloatArray, FloatArray]:
    """Find the ends of the interval of level 1 - alpha for each column of samples (resamples, ...).

    The ends are the k-th smallest and largest sample with k = alpha (1 + resamples) / 2. Therefore the interval
    excludes zero exactly if `_p_value` is at most alpha.
    """
    k = max(1, int(alpha * (1 + len(samples)) / 2))
    ordered = np.sort(samples, axis=0)
    return ordered[k - 1], ordered[-k]


def _draws(sizes: Sequence[int], seed: int, networks: Networks = ONE) -> Iterator[list[FloatArray]]:
    """Draw bootstrap samples of several kinds of units, as counts of each unit. The last kind are neurons of networks.

    Yields:
        For each of the sizes, counts (at once, size) with one row per sample.
    """
    rng = np.random.default_rng(seed)
    *others, neurons = sizes
    for start in range(0, RESAMPLES, _AT_ONCE):
        rows = min(_AT_ONCE, RESAMPLES - start)
        counts = [_counts(rng.integers(size, size=(rows, size)), size) for size in others]
        yield [*counts, _counts(_neurons(rng, rows, neurons, networks), neurons)]


def _neurons(rng: np.random.Generator, rows: int, count: int, networks: Networks) -> IntArray:
    """Draw networks of each world and then neurons of each drawn network, as (rows, count) places of neurons."""
    each = count // sum(networks)
    starts = np.cumsum([0, *networks[:-1]])
    of_worlds = [
        start + rng.integers(number, size=(rows, number)) for start, number in zip(starts, networks, strict=True)
    ]
    firsts = np.concatenate(of_worlds, axis=1)[..., None] * each
    places: IntArray = firsts + rng.integers(each, size=(rows, sum(networks), each))
    return places.reshape(rows, count)


def _counts(drawn: IntArray, size: int) -> FloatArray:
    """Count how often each number below `size` occurs in each row of `drawn` (b, n), as (b, size)."""
    rows = len(drawn)
    places = drawn + size * np.arange(rows)[:, None]
    return np.bincount(places.ravel(), minlength=rows * size).reshape(rows, size).astype(float)


def _means(table: FloatArray, member: FloatArray, run: FloatArray, neuron: FloatArray) -> FloatArray:
    """Compute the means (at once, ...) of samples of a table (members, seeds, neurons, ...), from `_draws` counts."""
    # The longest sum comes first, as a matrix product.
    sums = np.tensordot(neuron, table, (1, 2))
    means: FloatArray = np.einsum("bm,bs,bms...->b...", member, run, sums) / np.prod(table.shape[:3])
    return means


def _pairs(counts: FloatArray, others: FloatArray) -> FloatArray:
    """Count each pair of units (at once, n * m) in samples, from counts (at once, n) and (at once, m)."""
    return (counts[:, :, None] * others[:, None, :]).reshape(len(counts), -1)
