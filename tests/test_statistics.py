"""Means and their intervals: by hand, against SciPy, and over many simulated tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import trim_mean

from agents import statistics
from agents.results import Results
from agents.statistics import Interval, iqm, iqm_interval, mean_interval
from dnr_env.types import FloatArray

Estimator = Callable[[FloatArray], Interval]


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
    """A constant difference has no width, with training seeds on either side and records in any order."""
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
    behind = results.difference("loop", "policy", "value")  # the policy's two seeds are averaged: 0.5
    assert (behind.estimate, behind.low, behind.high) == pytest.approx((-0.5, -0.5, -0.5))
    ahead = results.difference("policy", "loop", "value")
    assert ahead.estimate == pytest.approx(0.5)
    assert (ahead.low, ahead.high) == pytest.approx((0.4, 0.6))  # the policies differ on all neurons together


def test_a_fraction_of_nothing_is_none() -> None:
    records = [record("a", "", 0, 1, 0.0)]
    assert Results(records, {"layer4:0": 0.0}).fraction("a") is None
    assert Results(records, {}).fraction("a") is None
    half = Results([record("a", "", 0, 1, 0.25)], {"layer4:0": 0.5}).fraction("a")
    assert half == Interval(0.5, 0.5, 0.5)
