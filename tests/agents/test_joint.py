"""The joint model of one neuron's concepts, against independent formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnr_env.agents.joint import Evidence, Joint
from dnr_env.env.observe import worth_of_drawing


def evidence(seed: int, count: int = 5) -> Evidence:
    rng = np.random.default_rng(seed)
    return Evidence(
        promise=rng.normal(0.6, 0.05, count),
        result=rng.normal(0.6, 0.1, count),
        keeps=rng.integers(0, 4, count),
        deviation=rng.uniform(0.02, 0.2, count),
        noise=rng.uniform(0.001, 0.01, count),
    )


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_without_correlation_it_is_the_product_of_normals(seed: int) -> None:
    known = evidence(seed)
    joint = Joint(known, alike=0.0, doubt=1e12)
    weight = known.keeps / known.noise
    precision = 1 / known.deviation**2 + weight
    means = (known.promise / known.deviation**2 + weight * known.result) / precision
    assert joint.mean == pytest.approx(means)
    assert joint.covariance == pytest.approx(np.diag(1 / precision))
    order = np.argsort(-means, kind="stable")
    reach = (1 / precision) / np.sqrt(1 / precision + known.noise)
    worth = np.zeros(len(means))
    worth[order] = worth_of_drawing(means[order][None], reach[order][None])[0]
    assert joint.rises(1)[:, 0] == pytest.approx(worth, abs=2e-5)


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0.5, 50))
@settings(max_examples=30, deadline=None)
def test_more_keeps_never_teach_less(seed: int, alike: float, doubt: float) -> None:
    joint = Joint(evidence(seed), alike, doubt)
    rises = joint.rises(6)
    assert (np.diff(rises, axis=1) > -1e-9).all()
    assert (rises >= 0).all()
    assert np.linalg.eigvalsh(joint.covariance).min() > -1e-12


def test_an_error_that_all_promises_share_moves_all_means_and_changes_no_choice() -> None:
    known = Evidence(
        np.array([0.6, 0.59, 0.5]), np.array([0.8, 0.0, 0.0]), np.array([1, 0, 0]), np.full(3, 0.1), np.full(3, 0.01)
    )
    joint = Joint(known, alike=1.0, doubt=1e12)
    assert joint.mean - known.promise == pytest.approx(np.full(3, 0.1))
    assert joint.rises(5) == pytest.approx(np.zeros((3, 5)), abs=1e-12)
    apart = Joint(known, alike=0.0, doubt=1e12)
    assert apart.mean - known.promise == pytest.approx([0.1, 0.0, 0.0])
    assert apart.rises(5)[1:].max() > 1e-3


def test_conditioning_equals_that_of_samples() -> None:
    """Means and covariance agree with importance-weighted samples of the model as it is defined."""
    known, alike, rng = evidence(3, 3), 0.6, np.random.default_rng(0)
    size = 400_000
    shared, own = rng.standard_normal((size, 1)), rng.standard_normal((size, 3))
    values = known.promise + known.deviation * (np.sqrt(alike) * shared + np.sqrt(1 - alike) * own)
    drawn = known.keeps > 0
    fit = (np.square(known.result - values) * known.keeps / known.noise)[:, drawn].sum(axis=1)
    weight = np.exp(-0.5 * (fit - fit.min()))
    mean = (weight[:, None] * values).sum(axis=0) / weight.sum()
    covariance = np.cov(values.T, aweights=weight)
    joint = Joint(known, alike, doubt=1e12)
    assert joint.mean == pytest.approx(mean, abs=2e-3)
    assert joint.covariance == pytest.approx(covariance, abs=3e-4)


def test_a_neuron_whose_promises_are_right_is_believed_sooner() -> None:
    promise = np.array([0.6, 0.59, 0.58])
    once, deviation, noise = np.array([1, 1, 1]), np.full(3, 0.1), np.full(3, 0.005)
    right = Joint(Evidence(promise, promise, once, deviation, noise), 0.5, 2.0)
    wrong = Joint(Evidence(promise, promise + np.array([0.3, -0.3, 0.3]), once, deviation, noise), 0.5, 2.0)
    assert right.scale == pytest.approx(2 / 5)
    assert wrong.scale > 1
