"""Means and their intervals: by hand, against SciPy, and over many simulated tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.random import Generator
from scipy.stats import mannwhitneyu, t, trim_mean

from dnr_env.evaluation import statistics
from dnr_env.evaluation.statistics import (
    Interval,
    difference_interval,
    holm_intervals,
    iqm,
    iqm_interval,
    mean_interval,
    probability_of_improvement,
    profile,
)
from dnr_env.types import FloatArray, IntArray

Pairs = list[tuple[FloatArray, FloatArray]]


Estimator = Callable[[FloatArray], Interval]


few = settings(max_examples=25, deadline=None)


@pytest.fixture(scope="module", autouse=True)
def fewer_resamples() -> Iterator[None]:
    """Use fewer resamples for speed, except in comparisons with another implementation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 2000)
        yield


def width(interval: Interval) -> float:
    return interval.high - interval.low


def tables(count: int, runs: int, neurons: int, truth: float) -> list[FloatArray]:
    """Simulate tables (1, runs, neurons) with an effect of each neuron and noise."""
    rng = np.random.default_rng(7)
    return [
        truth + rng.normal(size=(1, 1, neurons)) + rng.normal(scale=0.5, size=(1, runs, neurons)) for _ in range(count)
    ]


def test_estimates_by_hand() -> None:
    table = np.arange(12.0).reshape(1, 3, 4)
    table[0, 2, 3] = 1000.0
    assert mean_interval(table).estimate == pytest.approx((sum(range(11)) + 1000) / 12)
    assert iqm(table) == iqm_interval(table).estimate == pytest.approx(np.mean([3, 4, 5, 6, 7, 8]))


def test_estimates_against_scipy() -> None:
    for table in tables(5, 3, 21, 0.3):
        assert mean_interval(table).estimate == pytest.approx(table.mean())
        assert iqm_interval(table).estimate == pytest.approx(trim_mean(table.ravel(), 0.25))


@pytest.mark.parametrize("estimator", [mean_interval, iqm_interval])
def test_intervals_cover_the_truth(estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 300)
    found = [estimator(table) for table in tables(200, 2, 40, 0.3)]
    assert all(i.low <= i.estimate <= i.high for i in found)
    assert 0.88 <= np.mean([i.low <= 0.3 <= i.high for i in found]) <= 0.99


def plain(ours: FloatArray, others: FloatArray, count: int) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Draw bootstrap samples of two tables one by one, directly from the definition."""
    rng = np.random.default_rng(42)

    def drawn(size: int) -> IntArray:
        return rng.integers(size, size=size)

    _, seeds, neurons = ours.shape
    for _ in range(count):
        run, neuron = drawn(seeds), drawn(neurons)
        yield (
            ours[np.ix_(drawn(len(ours)), run, neuron)],
            others[np.ix_(drawn(len(others)), run, neuron)],
        )


def effects(rng: Generator, members: int, seeds: int, neurons: int, noise: float) -> FloatArray:
    """Simulate a table with true mean zero, whose mean has a variance of one from each of members, seeds and neurons.

    A single member, a loop, has no luck. The noise of single cells adds a variance of `noise` squared.
    """
    sizes = members, seeds, neurons
    cells: FloatArray = rng.normal(scale=noise * np.prod(sizes) ** 0.5, size=sizes)
    for axis, size in enumerate(sizes):
        shape = [1, 1, 1]
        shape[axis] = size
        if axis or members > 1:
            cells += rng.normal(scale=size**0.5, size=shape)
    return cells


def test_a_seeds_luck_is_common_to_all_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resampling seeds separately for each of 50 neurons would give intervals a seventh as wide."""
    monkeypatch.setattr(statistics, "RESAMPLES", 20_000)
    luck = np.random.default_rng(3).normal(size=8)
    table = np.repeat(luck[None, :, None], 50, axis=2)
    rng = np.random.default_rng(4)
    expected = np.percentile(rng.choice(luck, size=(50_000, 8)).mean(axis=1), (2.5, 97.5))
    tolerance = 0.03 * (expected[1] - expected[0])
    for found in (mean_interval(table), difference_interval(table, np.zeros((1, 8, 50)))):
        assert (found.low, found.high) == pytest.approx(tuple(expected), abs=tolerance)


def test_intervals_are_those_of_the_plain_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 20_000)
    rng = np.random.default_rng(8)
    ours, others = effects(rng, 3, 4, 6, 0.5), effects(rng, 2, 4, 6, 0.5)
    samples = np.array(
        [(x.mean(), trim_mean(x, 0.25, axis=None), x.mean() - y.mean()) for x, y in plain(ours, others, 4000)]
    )
    expected = np.percentile(samples, (2.5, 97.5), axis=0).T
    for found, ends in zip(
        (mean_interval(ours), iqm_interval(ours), difference_interval(ours, others)), expected, strict=True
    ):
        assert (found.low, found.high) == pytest.approx(tuple(ends), abs=0.06 * (ends[1] - ends[0]))


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_intervals_cover_the_truth_in_crossed_designs(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve members, twelve seeds and forty neurons have random effects, with or without noise of each cell.

    The bootstrap of n units has (n - 1) / n of the variance, and normal tails where Student's are due. That makes 93.5%
    for luck of these three kinds, by Satterthwaite's degrees of freedom; noise of cells is counted too often and adds.
    """
    units = np.array([12, 12, 40])
    known = 1 - 2 * t.sf(1.96 * ((units - 1) / units).mean() ** 0.5, 9 / (1 / (units - 1)).sum())
    assert known == pytest.approx(0.935, abs=5e-4)
    monkeypatch.setattr(statistics, "RESAMPLES", 400)
    rng = np.random.default_rng(6)
    found = [mean_interval(effects(rng, 12, 12, 40, noise)) for _ in range(400)]
    covered = np.mean([i.low <= 0 <= i.high for i in found])
    assert known - 3 * (0.95 * 0.05 / 400) ** 0.5 <= covered <= 0.99


def test_intervals_are_about_unseen_neurons_not_about_these() -> None:
    """Many runs on few neurons have a wider interval than the same number of results on many neurons."""
    few = np.repeat(np.linspace(-1, 1, 8)[None, None], 50, axis=1)
    many = np.linspace(-1, 1, 400)[None, None]
    assert width(mean_interval(few)) > 5 * width(mean_interval(many))


def test_intervals_are_the_same_every_time() -> None:
    (table,) = tables(1, 3, 30, 0.0)
    first = mean_interval(table), iqm_interval(table)
    np.random.seed(99)  # noqa: NPY002 (the global state must not matter)
    assert (mean_interval(table), iqm_interval(table)) == first
    assert mean_interval(table, seed=1) != first[0]
    assert mean_interval(np.full((1, 1, 1), 2.5)) == Interval(2.5, 2.5, 2.5)


sides = st.tuples(st.integers(1, 3), st.integers(1, 4))


def runs(seeds_and_neurons: st.SearchStrategy[tuple[int, int]] = sides) -> st.SearchStrategy[FloatArray]:
    """Generate small tables with many ties."""
    shapes = st.tuples(st.integers(1, 3), seeds_and_neurons).map(lambda shape: (shape[0], *shape[1]))
    return hnp.arrays(np.float64, shapes, elements=st.integers(-3, 3).map(float))


def paired_runs(of: tuple[int, int]) -> st.SearchStrategy[tuple[FloatArray, FloatArray]]:
    return st.tuples(runs(st.just(of)), runs(st.just(of)))


@few
@given(runs(), st.lists(st.floats(-4, 4), min_size=1, max_size=6))
def test_a_profile_is_the_share_above_with_the_interval_of_that_share(
    table: FloatArray, thresholds: list[float]
) -> None:
    shares, low, high = profile(table, np.array(thresholds))
    for i, threshold in enumerate(thresholds):
        alone = mean_interval((table > threshold).astype(float))
        assert (shares[i], low[i], high[i]) == pytest.approx((alone.estimate, alone.low, alone.high))


@few
@given(runs())
def test_a_profile_falls_from_one_to_zero(table: FloatArray) -> None:
    for curve in profile(table, np.linspace(-4, 4, 17)):
        assert (np.diff(curve) <= 0).all()
        assert (curve[0], curve[-1]) == (1, 0)


@few
@given(sides.flatmap(paired_runs))
def test_probability_of_improvement_is_that_of_mann_and_whitney(pair: tuple[FloatArray, FloatArray]) -> None:
    ours, others = pair
    found = probability_of_improvement(ours, others)
    expected = [
        mannwhitneyu(ours[..., n].ravel(), others[..., n].ravel(), method="asymptotic").statistic
        / (ours[..., n].size * others[..., n].size)
        for n in range(ours.shape[2])
    ]
    assert found.estimate == pytest.approx(np.mean(expected))
    assert 0 <= found.low <= found.high <= 1
    assert probability_of_improvement(others, ours).estimate == pytest.approx(1 - found.estimate)
    assert probability_of_improvement(ours, ours).estimate == 0.5
    assert probability_of_improvement(ours + 7, others) == Interval(1, 1, 1)


def test_the_interval_of_the_probability_of_improvement_is_that_of_the_plain_bootstrap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The tables share seeds and their effects, but have different numbers of members."""
    monkeypatch.setattr(statistics, "RESAMPLES", 20_000)
    rng = np.random.default_rng(5)
    ours, others = rng.normal(0.4, size=(3, 4, 6)), rng.normal(size=(2, 4, 6)) + rng.normal(size=6)
    luck = rng.normal(size=(4, 1))
    ours, others = ours + luck, others + luck
    samples = []
    for x, y in plain(ours, others, 4000):
        wins = [(x[..., n].ravel()[:, None] > y[..., n].ravel()).mean() for n in range(6)]
        samples.append(np.mean(wins))
    found = probability_of_improvement(ours, others)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(samples, (2.5, 97.5))), abs=0.02)


def test_intervals_of_the_probability_of_improvement_cover_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two agents are equally good. Neurons favour one or the other, and both share the effects of seeds."""
    monkeypatch.setattr(statistics, "RESAMPLES", 300)
    rng = np.random.default_rng(11)
    found = []
    for _ in range(200):
        luck, favour = rng.normal(size=(3, 1)), rng.normal(scale=4, size=40)
        ours, others = (luck + rng.normal(size=(1, 3, 40)) for _ in range(2))
        found.append(probability_of_improvement(ours + favour, others))
    assert 0.88 <= np.mean([i.low <= 0.5 <= i.high for i in found]) <= 0.99


def test_intervals_of_differences_cover_the_truth_where_both_agents_are_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Resampling the members of one side only would cover about 80%."""
    monkeypatch.setattr(statistics, "RESAMPLES", 300)
    rng = np.random.default_rng(2)
    found = []
    for _ in range(200):
        ours, others = (rng.normal(size=(10, 1, 1)) + 0.1 * rng.normal(size=(10, 2, 20)) for _ in range(2))
        found.append(difference_interval(ours, others))
    assert 0.88 <= np.mean([i.low <= 0 <= i.high for i in found]) <= 0.99


def families(of: tuple[int, int]) -> st.SearchStrategy[Pairs]:
    return st.lists(paired_runs(of), min_size=1, max_size=5)


@few
@given(sides.flatmap(families), st.randoms(use_true_random=False))
def test_a_family_is_corrected_whatever_its_order(family: Pairs, random: Random) -> None:
    found = holm_intervals(family)
    for (ours, others), one in zip(family, found, strict=True):
        alone = difference_interval(ours, others)
        assert one.estimate == alone.estimate
        assert one.low <= alone.low <= alone.high <= one.high
        assert 0 < one.p <= one.adjusted <= min(1, len(family) * one.p)
        assert (one.low > 0 or one.high < 0) == (one.adjusted <= 0.05)
        assert all(one.adjusted <= other.adjusted for other in found if one.p <= other.p)
        assert all(
            one.adjusted < other.adjusted or other.adjusted in (one.adjusted, 1) for other in found if one.p < other.p
        )
    order = random.sample(range(len(family)), len(family))
    assert holm_intervals([family[i] for i in order]) == [found[i] for i in order]


@few
@given(sides.flatmap(paired_runs))
def test_a_family_of_one_is_not_corrected(pair: tuple[FloatArray, FloatArray]) -> None:
    (found,) = holm_intervals([pair])
    assert Interval(found.estimate, found.low, found.high) == difference_interval(*pair)
    assert found.adjusted == found.p
    assert holm_intervals([]) == []


def textbook(p: list[float]) -> tuple[list[float], list[float]]:
    """Compute Holm's adjusted p-values and the level of each test, directly from the textbook."""
    adjusted, alphas, most, going, tested = [0.0] * len(p), [0.0] * len(p), 0.0, True, 0.0
    for j, i in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        most = max(most, min(1.0, (len(p) - j) * p[i]))
        adjusted[i] = most
        if going:
            tested = 0.05 / (len(p) - j)
        going = going and p[i] <= tested
        alphas[i] = tested
    return adjusted, alphas


def test_holms_procedure_is_that_of_the_textbook(monkeypatch: pytest.MonkeyPatch) -> None:
    """P-values and ends agree with the plain bootstrap, for differences from large to none."""
    monkeypatch.setattr(statistics, "RESAMPLES", 20_000)
    rng = np.random.default_rng(9)
    ours = effects(rng, 2, 5, 7, 0.3)
    family = []
    for gain in (0.0, -9.0, 5.0, 7.0, 1.0, 3.4):
        others = effects(rng, 1, 5, 7, 0.3)
        family.append((ours, others - others.mean() + ours.mean() - gain))
    found = holm_intervals(family)
    adjusted, alphas = textbook([one.p for one in found])
    assert [one.adjusted for one in found] == pytest.approx(adjusted)
    assert 2 <= sum(p <= 0.05 for p in adjusted) < sum(one.p <= 0.05 for one in found)
    for (x, y), one, alpha in zip(family, found, alphas, strict=True):
        samples = np.array([a.mean() - b.mean() for a, b in plain(x, y, 8000)])
        p = 2 * min((samples <= 0).mean(), (samples >= 0).mean())
        assert one.p == pytest.approx(p, abs=4 * (p / 8000) ** 0.5 + 0.001)
        ends = np.quantile(samples, (alpha / 2, 1 - alpha / 2))
        assert (one.low, one.high) == pytest.approx(tuple(ends), abs=0.1 * (ends[1] - ends[0]))


def test_equal_tables_are_not_told_apart() -> None:
    """A rounding error would have the same sign in all samples."""
    table = np.full((1, 3, 7), 0.1)
    (found,) = holm_intervals([(np.repeat(table, 10, axis=0), table)])
    assert (found.low, found.high, found.p) == (0, 0, 1)


def test_a_family_of_no_differences_rarely_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 5% of families of five have a rejection. Without a correction, about three times as many do."""
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    rng = np.random.default_rng(12)
    adjusted, p = [], []
    for _ in range(250):
        luck = rng.normal(scale=12**0.5, size=(12, 1))  # of the drawings, the same to all agents
        ours = luck + effects(rng, 12, 12, 40, 0.3)
        found = holm_intervals([(ours, luck + effects(rng, 1, 12, 40, 0.3)) for _ in range(5)])
        adjusted.append(min(one.adjusted for one in found))
        p.append(min(one.p for one in found))
    assert np.mean(np.array(adjusted) <= 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 250) ** 0.5
    assert np.mean(np.array(p) <= 0.05) > 0.1


# --- networks ------------------------------------------------------------------------------------


def test_neurons_of_one_network_are_drawn_as_those_of_none() -> None:
    """Members, seeds and neurons, each with as many draws from one generator as there are."""
    sizes, rng = (3, 4, 7), np.random.default_rng(3)
    for drawn in statistics._draws(sizes, 3, networks=(1,)):
        for size, counts in zip(sizes, drawn, strict=True):
            places = rng.integers(size, size=(len(counts), size))
            np.testing.assert_array_equal(counts, (places[..., None] == np.arange(size)).sum(axis=1))


def test_intervals_are_those_of_the_plain_bootstrap_of_networks_and_their_neurons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 20_000)
    rng = np.random.default_rng(3)
    networks, each, seeds = (2, 3), 4, 3
    luck = np.repeat(rng.normal(size=5) + np.array([0, 0, 9, 9, 9]), each)  # worlds differ much
    ours = luck + rng.normal(size=(2, seeds, 20))
    others = rng.normal(size=(1, seeds, 20))
    samples = []
    for _ in range(4000):
        chosen = np.concatenate([rng.integers(0, 2, size=2), rng.integers(2, 5, size=3)])
        neurons = np.concatenate([network * each + rng.integers(each, size=each) for network in chosen])
        run, members = rng.integers(seeds, size=seeds), rng.integers(2, size=2)
        x, y = ours[np.ix_(members, run, neurons)].mean(), others[0][np.ix_(run, neurons)].mean()
        samples.append((x, x - y))
    expected = np.percentile(samples, (2.5, 97.5), axis=0).T
    found = mean_interval(ours, networks=networks), difference_interval(ours, others, networks=networks)
    for one, ends in zip(found, expected, strict=True):
        assert (one.low, one.high) == pytest.approx(tuple(ends), abs=0.06 * (ends[1] - ends[0]))


@pytest.mark.parametrize(("of_networks", "of_neurons", "least"), [(0.1, 1.0, 0.94), (0.3, 1.0, 0.88), (1.0, 0.0, 0.84)])
def test_intervals_cover_the_truth_of_unseen_networks(
    of_networks: float, of_neurons: float, least: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two worlds of six networks of 30 neurons. Neurons as if of one network would cover little of the last."""
    monkeypatch.setattr(statistics, "RESAMPLES", 300)
    rng = np.random.default_rng(1)
    tables = [
        np.repeat(rng.normal(scale=of_networks, size=12), 30)
        + rng.normal(scale=of_neurons, size=360)
        + rng.normal(scale=0.5, size=(1, 4, 360))
        for _ in range(200)
    ]
    found = [mean_interval(table, networks=(6, 6)) for table in tables]
    assert np.mean([one.low <= 0 <= one.high for one in found]) >= least
    if of_networks == 1:
        alone = [mean_interval(table) for table in tables]
        assert np.mean([one.low <= 0 <= one.high for one in alone]) < 0.5
