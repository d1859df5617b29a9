"""The tables of a comparison: pairs, fractions, regret, gains and attributes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from playing import Drawing
from records import episode, record

from dnr_env.evaluation import statistics
from dnr_env.evaluation.results import Results, unseen
from dnr_env.evaluation.rollout import rollout
from dnr_env.evaluation.statistics import (
    Interval,
    holm_intervals,
    mean_interval,
)
from dnr_env.seeds import block_of
from dnr_env.stack import Stack
from dnr_env.types import FloatArray


@pytest.fixture(scope="module", autouse=True)
def fewer_resamples() -> Iterator[None]:
    """Use fewer resamples for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "RESAMPLES", 2000)
        yield


def width(interval: Interval) -> float:
    return interval.high - interval.low


def known(**optima: float) -> dict[str, FloatArray]:
    """Optima that are the same on every block of drawings."""
    return {neuron: np.array(value) for neuron, value in optima.items()}


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
    """The interval of a constant difference has the width of the training seeds only, in both directions."""
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
    assert Results(records, known(**{"layer4:0": 0.0})).fraction("a") is None
    assert Results(records, {}).fraction("a") is None
    half = Results([record("a", "", 0, 1, 0.25)], known(**{"layer4:0": 0.5})).fraction("a")
    assert half == Interval(0.5, 0.5, 0.5)


def test_a_fraction_is_uncertain_by_what_is_lost_and_not_by_how_the_optima_differ() -> None:
    optima = {f"layer4:{n}": 0.2 + 0.1 * n for n in range(6)}
    perfect = Results([record("a", "", n, 1, optima[f"layer4:{n}"]) for n in range(6)], known(**optima))
    assert perfect.fraction("a") == Interval(1.0, 1.0, 1.0)
    behind = Results(
        [record("a", "", n, 1, optima[f"layer4:{n}"] - 0.045 * (n % 2)) for n in range(6)], known(**optima)
    )
    found = behind.fraction("a")
    assert found is not None
    assert found.estimate == pytest.approx(0.95)
    assert 0.90 <= found.low < 0.95 < found.high <= 1


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


def test_the_gain_is_that_of_the_last_point_at_or_below() -> None:
    results = Results([episode("a", "", 0, 1, [0.5, 0.3]), episode("a", "", 1, 1, [])], {})
    assert results.gain_at("a", 0).tolist() == results.gain_at("a", 4).tolist() == [[[0, 0]]]
    assert results.gain_at("a", 5).tolist() == [[[0.5, 0]]]
    assert results.gain_at("a", np.array([0, 9, 10, 99]))[0, 0, 0].tolist() == [0, 0.5, 0.3, 0.3]


def test_the_gain_counts_what_stop_chose() -> None:
    """STOP draws nothing. It adds a point at the same number of images, with its own choice of label."""
    stopped = episode("a", "", 0, 1, [0.5])
    stopped["curve"].append([5, 0.7, None])
    assert Results([stopped], {}).gain_at("a", 5).item() == 0.7


def test_a_played_curve_ends_at_the_held_out_gain_of_the_label(stack: Stack) -> None:
    """The gain is measured on reward images, not on the agent's own images."""
    neurons = [f"layer4:{n}" for n in range(4)]
    played = list(rollout(Drawing(), [(neuron, 1) for neuron in neurons], stack=stack))
    envs: Any = gym.make_vec("dnr_env:DnR/Refine-v0", num_envs=4, stack=stack, neurons="all")
    envs.reset(seed=0, options={"each": [{"neuron": neuron, "block": block_of(1)} for neuron in neurons]})
    value, rows = envs.unwrapped.episodes.value, np.arange(4)
    gains = value(rows, [e.label for e in played]) - value(rows, [e.first_label for e in played])
    envs.close()
    assert np.count_nonzero(gains) > 1
    records = [{"agent": "drawing", "member": "", **asdict(e)} for e in played]
    results = Results(records, {})
    assert results.gain_at("drawing", 100)[0, 0] == pytest.approx(gains)
    assert all(e.curve[0] == (0, 0.0, e.curve[0][2]) for e in played)
    observed = np.array([(e.curve[-1][2] or 0) - (e.curve[0][2] or 0) for e in played])
    assert not np.allclose(gains, observed)


def test_regret_is_over_the_neurons_of_known_optimum() -> None:
    records = [record("a", "", n, seed, 0.1 * n) for n in range(4) for seed in (1, 2)]
    regret = Results(records, known(**{"layer4:3": 0.5, "layer4:1": 0.5, "layer9:9": 7.0})).regret("a")
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


def test_intervals_of_one_unit_say_what_they_lack() -> None:
    def record(neuron: str, seed: int) -> dict[str, Any]:
        return {"agent": "a", "member": "", "neuron": neuron, "seed": seed}

    assert unseen(Results([record("n", 1), record("m", 1), record("n", 2), record("m", 2)], {})) == ""
    assert "between blocks of drawings" in unseen(Results([record("n", 1), record("m", 1)], {}))
    assert "between neurons and between blocks of drawings" in unseen(Results([record("n", 1)], {}))
