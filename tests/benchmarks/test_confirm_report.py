"""The analysis of the confirmation, on records whose answers are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from confirm_report import Scope, images_at_equal_value, scopes, share_of_way, verdict

from dnr_env.evaluation import statistics
from dnr_env.evaluation.results import Results
from dnr_env.types import FloatArray

Curve = list[list[float | None]]
NETWORKS, NEURONS, SEEDS = (3, 3), 5, 4


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 2000)


def results(network: int, values: dict[str, float], curves: dict[str, Curve] | None = None) -> Results:
    """Records of agents with these mean net values, on neurons that differ. All agents have the same luck."""
    rng = np.random.default_rng(network)
    luck = rng.normal(size=(NEURONS, SEEDS))
    records: list[dict[str, Any]] = [
        {
            "agent": agent, "member": "", "neuron": f"layer1:{neuron}", "seed": seed, "precision": None,
            "net": value + luck[neuron, seed], "judge_net": 0.5 * value + luck[neuron, seed],
            "curve": (curves or {}).get(agent, [[0, 0.0, None]]),
        }
        for agent, value in values.items() for neuron in range(NEURONS) for seed in range(SEEDS)
    ]  # fmt: skip
    return Results(records, {})


def both(values: dict[str, float], curves: dict[str, Curve] | None = None) -> list[Scope]:
    return scopes([results(n, values, curves) for n in range(6)], ["shapes"] * 3 + ["scenes"] * 3)


def test_scopes_are_both_worlds_and_each() -> None:
    every = both({"a": 1.0})
    assert [(scope.name, scope.networks) for scope in every] == [
        ("all worlds", (3, 3)), ("shapes", (3,)), ("scenes", (3,)),
    ]  # fmt: skip
    whole, shapes, scenes = (scope.table("a", "net") for scope in every)
    np.testing.assert_array_equal(whole, np.concatenate([shapes, scenes], axis=2))
    np.testing.assert_array_equal(scenes[:, :, NEURONS : 2 * NEURONS], results(4, {"a": 1.0}).table("a", "net"))


def test_the_claim_is_confirmed_if_the_policy_is_above_all_by_both_judges() -> None:
    scope = both({"rule": 0.2, "promise": 0.1, "policy": 0.3})[0]
    assert verdict(scope, "policy", ["rule", "promise"]).startswith(
        "Confirmed: all 95% intervals, Holm-corrected for 4"
    )
    said = verdict(scope, "rule", ["policy", "promise"])
    assert said.startswith("Not confirmed")
    assert "2 are not above zero: `policy`" in said
    assert "`promise`" not in said


def test_an_equal_agent_does_not_confirm() -> None:
    scope = both({"rule": 0.3, "policy": 0.3})[0]
    assert verdict(scope, "policy", ["rule"]).startswith("Not confirmed")


def test_the_share_of_the_way_of_paired_tables_is_exact() -> None:
    luck: FloatArray = np.random.default_rng(0).normal(size=(1, SEEDS, 30))
    found = share_of_way([0.25 + luck, luck, 1.0 + luck], NETWORKS)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))
    noisy = share_of_way([0.25 + luck, luck, 1.0 + luck[..., ::-1]], NETWORKS)
    assert noisy.low < 0.25 < noisy.high


@pytest.mark.parametrize(("wanted", "images"), [(0.0, 0), (0.1, 5), (0.15, 10), (0.2, 10), (0.3, 20), (0.31, np.inf)])
def test_images_at_equal_value_are_those_of_the_first_limit_that_is_as_good(wanted: float, images: float) -> None:
    """The policy draws 5, 10 and 20 images; the rule gains what is wanted with 40."""
    curves = {
        "policy": [[0, 0.0, None], [5, 0.1, None], [10, 0.2, None], [20, 0.3, None]],
        "rule": [[0, 0.0, None], [40, wanted, None]],
    }
    for scope in both({"policy": 0.0, "rule": 0.0}, curves):
        found = images_at_equal_value(scope, "policy", "rule")
        assert (found.estimate, found.low, found.high) == (images, images, images)
