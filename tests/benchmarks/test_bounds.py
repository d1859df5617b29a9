"""The lower bound on images, by hand and by brute force."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from bounds import complexity, least_images
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import softmax

from dnr_env.types import FloatArray

few = settings(max_examples=25, deadline=None)


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
    """A search over the shares of images of three concepts gives the same T*, by its definition."""
    best, *others = sorted(means, reverse=True)
    gaps = best - np.array(others)

    def least(logits: FloatArray) -> float:
        shares = softmax([0.0, *logits])
        return float((shares[0] * shares[1:] / (shares[0] + shares[1:]) * gaps**2 / (2 * 0.2**2)).min())

    # Derivative-free, as the minimum has a kink where it is largest.
    def loss(logits: FloatArray) -> float:
        return -least(logits)

    found = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    assert complexity(means, 0.2) == pytest.approx(1 / least(found.x), rel=1e-5)
    grid = [least(np.array([a, b])) for a in np.linspace(-6, 3, 40) for b in np.linspace(-6, 3, 40)]
    assert 1 / max(grid) >= complexity(means, 0.2) * (1 - 1e-9)


def test_the_bound_where_there_is_nothing_to_tell_or_no_way_to() -> None:
    assert complexity([0.4], 0.1) == least_images([0.4], 0.1) == 0
    assert complexity([0.4, 0.1, 0.4], 0.1) == least_images([0.4, 0.4], 0.1) == np.inf
    assert np.isfinite(complexity([0.5, 0.1, 0.1], 0.1))  # a tie of the others does no harm


def test_the_bound_for_two_by_hand() -> None:
    """The bound for two concepts is 8 sigma^2 / gap^2 images times kl(0.05, 0.95)."""
    kl = 0.05 * np.log(0.05 / 0.95) + 0.95 * np.log(0.95 / 0.05)
    assert least_images([0.6, 0.4], 0.1) == pytest.approx(8 * 0.25 * kl)
    assert least_images([0.6, 0.4], 0.1, 0.01) > least_images([0.6, 0.4], 0.1)
