"""Means and their intervals: by hand, against SciPy, and over many simulated tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.random import Generator
from PIL import Image
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import mannwhitneyu, t, trim_mean

from agents import make_agent, statistics
from agents.bounds import complexity, least_images
from agents.plots import plot_curves, plot_differences, plot_profiles, plot_quality
from agents.results import Results
from agents.rollout import rollout
from agents.statistics import (
    Interval,
    difference_interval,
    holm_intervals,
    iqm,
    iqm_interval,
    mean_interval,
    probability_of_improvement,
    profile,
)
from dnr_env.stacks import Stack
from dnr_env.types import FloatArray, IntArray

Pairs = list[tuple[FloatArray, FloatArray]]
Estimator = Callable[[FloatArray], Interval]
few = settings(max_examples=25, deadline=None)


@pytest.fixture(scope="module", autouse=True)
def fewer_resamples() -> Iterator[None]:
    """For speed, but where intervals are set beside those of another program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 2000)
        yield


def width(interval: Interval) -> float:
    return interval.high - interval.low


def tables(count: int, runs: int, neurons: int, truth: float) -> list[FloatArray]:
    """Tables (1, runs, neurons) of results with a part of the neuron and noise."""
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
    """Bootstrap samples of two tables, drawn one by one by the words of the definition."""
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
    """A table whose mean, zero in truth, has a variance of one by the luck of each of members, seeds and neurons.

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
    """A bootstrap that draws seeds for each neuron anew has intervals a seventh as wide, the root of 50 neurons."""
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
    """Twelve members, twelve seeds and forty neurons, all with luck of their own, with or without noise of each cell.

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
    """Many runs on few neurons stay uncertain; the same number of results on many neurons is sure."""
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


def record(agent: str, member: str, neuron: int, seed: int, value: float) -> dict[str, Any]:
    return {"agent": agent, "member": member, "neuron": f"layer4:{neuron}", "seed": seed, "value": value}


def test_paired_differences_are_sharper() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(size=40)
    records = [
        record(agent, "", neuron, seed, hard[neuron] + gain + 0.05 * rng.normal())
        for agent, gain in (("a", 0.1), ("b", 0.0))
        for neuron in range(40)
        for seed in (1, 2)
    ]
    results = Results(records, {})
    paired = results.difference("a", "b", "value")
    alone = [mean_interval(results.table(agent, lambda r: r["value"])) for agent in ("a", "b")]
    assert width(paired) < min(map(width, alone)) / 5
    assert paired.low < 0.1 < paired.high
    assert paired.low > 0
    assert paired.estimate == pytest.approx(alone[0].estimate - alone[1].estimate)


def test_differences_pair_neurons_and_seeds_whatever_the_order_of_the_records() -> None:
    """A constant difference has the width of the training seeds alone, on either side, with records in any order."""
    rng = np.random.default_rng(1)
    base = {(n, s): rng.normal() for n in range(12) for s in (1, 2, 3)}
    members = {"policy": (("seed-0", 0.4), ("seed-1", 0.6)), "loop": (("", 0.0),)}
    records = [
        record(agent, member, n, s, base[n, s] + gain)
        for agent, all_members in members.items()
        for member, gain in all_members
        for n, s in base
    ]
    rng.shuffle(records)
    results = Results(records, {})
    behind = results.difference("loop", "policy", "value")
    assert (behind.estimate, behind.low, behind.high) == pytest.approx((-0.5, -0.6, -0.4))
    ahead = results.difference("policy", "loop", "value")
    assert ahead.estimate == pytest.approx(0.5)
    assert (ahead.low, ahead.high) == pytest.approx((0.4, 0.6))  # the policies differ on all neurons together


def test_a_fraction_of_nothing_is_none() -> None:
    records = [record("a", "", 0, 1, 0.0)]
    assert Results(records, {"layer4:0": 0.0}).fraction("a") is None
    assert Results(records, {}).fraction("a") is None
    half = Results([record("a", "", 0, 1, 0.25)], {"layer4:0": 0.5}).fraction("a")
    assert half == Interval(0.5, 0.5, 0.5)


def test_a_fraction_is_uncertain_by_what_is_lost_and_not_by_how_the_optima_differ() -> None:
    optima = {f"layer4:{n}": 0.2 + 0.1 * n for n in range(6)}
    perfect = Results([record("a", "", n, 1, optima[f"layer4:{n}"]) for n in range(6)], optima)
    assert perfect.fraction("a") == Interval(1.0, 1.0, 1.0)
    behind = Results([record("a", "", n, 1, optima[f"layer4:{n}"] - 0.045 * (n % 2)) for n in range(6)], optima)
    found = behind.fraction("a")
    assert found is not None
    assert found.estimate == pytest.approx(0.95)
    assert 0.90 <= found.low < 0.95 < found.high <= 1


# --- profiles and probability of improvement ---------------------------------------------------------------------


sides = st.tuples(st.integers(1, 3), st.integers(1, 4))


def runs(seeds_and_neurons: st.SearchStrategy[tuple[int, int]] = sides) -> st.SearchStrategy[FloatArray]:
    """Small tables with many ties."""
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
    """Of tables with as many seeds, whose luck they share, and unlike numbers of members."""
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
    """Two agents as good as each other, over neurons that favour the one or the other, with luck of seeds for both."""
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
    """With as many members on either side, leaving out the other's would cover about 80%."""
    monkeypatch.setattr(statistics, "RESAMPLES", 300)
    rng = np.random.default_rng(2)
    found = []
    for _ in range(200):
        ours, others = (rng.normal(size=(10, 1, 1)) + 0.1 * rng.normal(size=(10, 2, 20)) for _ in range(2))
        found.append(difference_interval(ours, others))
    assert 0.88 <= np.mean([i.low <= 0 <= i.high for i in found]) <= 0.99


# --- families of comparisons -------------------------------------------------------------------------------------


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
    """Holm's adjusted p-values, and the levels at which the steps of his procedure test."""
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
    """With p-values and ends that the plain bootstrap finds too, of differences from clear ones to none."""
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
    """A difference of rounding would have one sign in all samples."""
    table = np.full((1, 3, 7), 0.1)
    (found,) = holm_intervals([(np.repeat(table, 10, axis=0), table)])
    assert (found.low, found.high, found.p) == (0, 0, 1)


def test_a_family_of_no_differences_rarely_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """In at most 5% of families of five; without a correction, in about three times as many."""
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


def test_results_compare_an_agent_with_the_others_as_a_family() -> None:
    rng = np.random.default_rng(13)
    records = [
        record(agent, "", n, s, rng.normal(scale=0.1) + gain)
        for agent, gain in (("a", 0.0), ("ours", 0.2), ("b", 0.2))
        for n in range(6)
        for s in (1, 2)
    ]
    rng.shuffle(records)
    results = Results(records, {})
    found = results.differences("ours", ["b", "a"], "value")
    assert list(found) == ["b", "a"]
    assert list(found.values()) == holm_intervals(
        [(results.table("ours", "value"), results.table(other, "value")) for other in "ba"]
    )
    assert found["a"].adjusted < 0.05 < found["b"].adjusted


# --- quality against images, regret, attributes ------------------------------------------------------------------


def episode(agent: str, member: str, neuron: int, seed: int, gains: list[float]) -> dict[str, Any]:
    """A record of one measurement of five images a gain, after a start at none."""
    curve = [[5 * i, gain, 0.0] for i, gain in enumerate([0.0, *gains])]
    return {**record(agent, member, neuron, seed, 0.0), "curve": curve, "added_images": 5 * len(gains)}


def test_the_gain_is_that_of_the_last_point_at_or_below() -> None:
    results = Results([episode("a", "", 0, 1, [0.5, 0.3]), episode("a", "", 1, 1, [])], {})
    assert results.gain_at("a", 4).tolist() == [[[0, 0]]]
    assert results.gain_at("a", 5).tolist() == [[[0.5, 0]]]
    assert results.gain_at("a", np.array([0, 9, 10, 99]))[0, 0, 0].tolist() == [0, 0.5, 0.3, 0.3]


def test_the_gain_counts_what_stop_chose() -> None:
    """STOP draws nothing: it adds a point at the images of the one before, with its own choice of label."""
    stopped = episode("a", "", 0, 1, [0.5])
    stopped["curve"].append([5, 0.7, 0.0])
    assert Results([stopped], {}).gain_at("a", 5).item() == 0.7


def test_a_played_curve_ends_at_the_held_out_gain_of_the_label(stack: Stack) -> None:
    """The label's value on reward images less the first one's: not what the agent's own images promised."""
    neurons = [f"layer4:{n}" for n in range(4)]
    played = list(rollout(make_agent("patience:4"), [(neuron, 1) for neuron in neurons], stack=stack))
    envs: Any = gym.make_vec("dnr_env:DnR/Refine-v0", num_envs=4, stack=stack, neurons="all")
    envs.reset(seed=0, options={"each": [{"neuron": neuron, "block": 1} for neuron in neurons]})
    value, rows = envs.unwrapped.refinement.value, np.arange(4)
    gains = value(rows, [e.label for e in played]) - value(rows, [e.first_label for e in played])
    envs.close()
    assert np.count_nonzero(gains) > 1
    records = [{"agent": "patience:4", "member": "", **asdict(e)} for e in played]
    results = Results(records, {})
    assert results.gain_at("patience:4", 100)[0, 0] == pytest.approx(gains)
    assert results.gain_at("patience:4", 0)[0, 0].tolist() == [0, 0, 0, 0]
    observed = np.array([e.curve[-1][2] - e.curve[0][2] for e in played])
    assert not np.allclose(gains, observed)


def test_regret_is_over_the_neurons_of_known_optimum() -> None:
    records = [record("a", "", n, seed, 0.1 * n) for n in range(4) for seed in (1, 2)]
    regret = Results(records, {"layer4:3": 0.5, "layer4:1": 0.5, "layer9:9": 7.0}).regret("a")
    assert regret is not None
    assert (regret.estimate, regret.low, regret.high) == pytest.approx((0.3, 0.2, 0.4))
    assert Results(records, {}).regret("a") is None


def attributes(agent: str, neuron: str, precision: float | None, recall: float | None) -> dict[str, Any]:
    return {"agent": agent, "member": "", "neuron": neuron, "seed": 1, "precision": precision, "recall": recall}


def test_f1_is_of_each_record_and_then_the_mean() -> None:
    named = [("planted:1", 1.0, 0.5), ("layer4:1", None, None), ("planted:2", 0.0, 0.0), ("planted:3", 0.5, 1.0)]
    better = [(name, p, None if p is None else 1.0) for name, p, _ in named]
    results = Results([attributes("a", *n) for n in named] + [attributes("b", *n) for n in better], {})
    found = results.f1("a")
    assert found is not None
    assert found.estimate == pytest.approx((2 / 3 + 0 + 2 / 3) / 3)
    assert 0 <= found.low < found.estimate <= found.high == pytest.approx(2 / 3)
    ahead = results.f1_difference("b", "a")
    assert ahead is not None
    assert ahead.estimate == pytest.approx((1 / 3 + 0 + 0) / 3)
    unknown = Results([attributes("a", "layer4:1", None, None)], {})
    assert unknown.f1("a") is None
    assert unknown.f1_difference("a", "a") is None


# --- the bound on images -----------------------------------------------------------------------------------------

scores = st.lists(st.integers(0, 1000).map(lambda i: i / 1000), min_size=2, max_size=40)
untied = scores.filter(lambda means: means.count(max(means)) == 1)


@given(st.integers(2, 200), st.floats(1e-4, 10), st.floats(1e-3, 10))
def test_complexity_of_equal_gaps(k: int, gap: float, sigma: float) -> None:
    assert complexity([gap, *[0.0] * (k - 1)], sigma) == pytest.approx(
        2 * (sigma / gap) ** 2 * (1 + (k - 1) ** 0.5) ** 2
    )


@given(untied, st.floats(0.01, 2))
def test_complexity_is_between_the_sum_of_the_inverse_gaps_and_twice_that(means: list[float], sigma: float) -> None:
    gaps = np.sort(max(means) - np.array(means))[1:]
    total = float((2 * sigma**2 / np.array([gaps[0], *gaps]) ** 2).sum())
    assert total * (1 - 1e-9) <= complexity(means, sigma) <= 2 * total * (1 + 1e-9)


@few
@given(untied, st.randoms(use_true_random=False), st.floats(-5, 5))
def test_complexity_does_not_know_order_nor_level(means: list[float], random: Random, level: float) -> None:
    shuffled = random.sample(means, len(means))
    assert complexity(shuffled, 0.3) == complexity(means, 0.3)
    assert complexity([mean + level for mean in means], 0.3) == pytest.approx(complexity(means, 0.3), rel=1e-6)


@pytest.mark.parametrize("means", [(0.5, 0.4, 0.1), (0.5, 0.45, 0.44), (0.3, 0.9, 0.89), (1.0, 0.0, 0.9)])
def test_complexity_against_brute_force(means: tuple[float, float, float]) -> None:
    """The best shares of the images of three, by a search over them: the definition of T*."""
    best, *others = sorted(means, reverse=True)
    gaps = best - np.array(others)

    def least(logits: FloatArray) -> float:
        shares = softmax([0.0, *logits])
        return float((shares[0] * shares[1:] / (shares[0] + shares[1:]) * gaps**2 / (2 * 0.2**2)).min())

    # Derivative-free, as the minimum has a kink where it is largest.
    found = minimize(
        lambda logits: -least(logits), [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    )
    assert complexity(means, 0.2) == pytest.approx(1 / least(found.x), rel=1e-5)
    grid = [least(np.array([a, b])) for a in np.linspace(-6, 3, 40) for b in np.linspace(-6, 3, 40)]
    assert 1 / max(grid) >= complexity(means, 0.2) * (1 - 1e-9)


def test_the_bound_where_there_is_nothing_to_tell_or_no_way_to() -> None:
    assert complexity([0.4], 0.1) == least_images([0.4], 0.1) == 0
    assert complexity([0.4, 0.1, 0.4], 0.1) == least_images([0.4, 0.4], 0.1) == np.inf
    assert np.isfinite(complexity([0.5, 0.1, 0.1], 0.1))  # a tie of the others does no harm


def test_the_bound_for_two_by_hand() -> None:
    """8 sigma^2 / gap^2 images to tell two apart, times kl(0.05, 0.95)."""
    kl = 0.05 * np.log(0.05 / 0.95) + 0.95 * np.log(0.95 / 0.05)
    assert least_images([0.6, 0.4], 0.1) == pytest.approx(8 * 0.25 * kl)
    assert least_images([0.6, 0.4], 0.1, 0.01) > least_images([0.6, 0.4], 0.1)


# --- plots -------------------------------------------------------------------------------------------------------


def test_plots_are_900_pixels_wide_whatever_the_agents(tmp_path: Path) -> None:
    """From one agent with one neuron to more than there are colours."""
    for names in (["ppo"], [f"a-long-name-of-a-loop:{i}@informed" for i in range(32)]):
        rng = np.random.default_rng(0)
        records = [
            {**episode(name, "", n, 1, rng.normal(size=3).tolist()), "net": float(rng.normal()), "images": 5.0 * n}
            for name in names
            for n in range(2)
        ]
        results = Results(records, {})
        plot_curves(results, tmp_path / "curves.png")
        plot_profiles(results, tmp_path / "profiles.png")
        plot_quality(results, tmp_path / "quality.png")
        plot_differences(results, results.reference, results.others, tmp_path / "differences.png")
        for path in tmp_path.iterdir():
            with Image.open(path) as image:
                assert image.width == 900
