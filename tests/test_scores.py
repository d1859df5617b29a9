"""Scores against brute force, plain formulas and simulation."""

from __future__ import annotations

import itertools
from math import log1p, sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dnr_env.errors import DnRError
from dnr_env.scores import (
    SCORES,
    SEMANTIC_ALPHA,
    check_score,
    correlation,
    dnd_selection,
    drawn_part,
    drawn_share,
    middle,
    price_of_words,
    score,
    subset_weights,
    top_k,
)
from dnr_env.types import FloatArray

M = 5
CONTROL = np.sort(np.random.default_rng(99).normal(size=200))
FEW = settings(deadline=None, max_examples=60)


def score_all(name: str, activations: FloatArray, similarities: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Score (rows, n) activations, all of whose places are filled."""
    rows, n = activations.shape
    control = np.broadcast_to(CONTROL, (rows, len(CONTROL)))
    return score(
        name,
        activations=activations,
        counts=np.full(rows, n),
        m=M,
        similarities=similarities,
        controls=control,
        simulations=np.full(rows, 0.4),
        lengths=np.full(rows, 2.0),
    )


def samples(rows: int, n: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Skewed activations, some of them below zero, and cosines."""
    rng = np.random.default_rng(seed)
    return rng.gamma(1.5, 0.6, (rows, n)) - 0.3, np.clip(rng.normal(0.4, 0.25, (rows, n)), -1, 1)


# --- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", range(1, 9))
def test_weights_equal_the_mean_over_all_subsets(n: int) -> None:
    values = np.sort(np.random.default_rng(n).normal(size=n))
    for m in range(1, n + 1):
        subsets = np.array(list(itertools.combinations(values, m)))
        for k in range(1, m + 1):
            assert subset_weights(n, top_k(k, m)) @ values == pytest.approx(subsets[:, m - k :].mean())
        assert subset_weights(n, middle(m)) @ values == pytest.approx(np.median(subsets, axis=1).mean())


@given(st.integers(1, 60), st.data())
@FEW
def test_weights_of_a_mean_sum_to_one_and_none_is_negative(n: int, data: st.DataObject) -> None:
    m = data.draw(st.integers(1, n))
    for of_subset in (top_k(data.draw(st.integers(1, m)), m), middle(m)):
        weights = subset_weights(n, of_subset)
        assert weights.sum() == pytest.approx(1)
        assert (weights >= 0).all()


# --- values ---------------------------------------------------------------------------------------


def plain(
    name: str,
    activations: list[float],
    similarities: list[float],
    control: list[float],
    simulation: float,
    length: float,
    m: int,
) -> float:
    """The score of exactly m images, by its formula."""
    best = sorted(activations, reverse=True)[: max(1, m // 2)]
    if name == "median":
        return float(np.median(activations))
    if name == "sq_mean":
        return sum(max(a, 0) ** 2 for a in activations) / m
    if name == "topk_sq_mean":
        return sum(max(a, 0) ** 2 for a in best) / len(best)
    if name == "log_k":
        return sum(log1p(max(a, 0)) for a in best) / len(best)
    if name == "grounded_k":
        return 0.6 * sum(log1p(max(a, 0)) for a in best) / len(best) + 0.4 * simulation - 0.04 * length
    if name == "semantic_k":
        return SEMANTIC_ALPHA * sum(best) / len(best) + (1 - SEMANTIC_ALPHA) * (sum(similarities) / m) ** 2
    if name == "auc":
        wins = [(a > c) + 0.5 * (a == c) for a in activations for c in control]
        return sum(wins) / len(wins)
    mean = sum(activations) / m
    if name == "mean":
        return mean
    centre = sum(control) / len(control)
    return (mean - centre) / sqrt(sum((c - centre) ** 2 for c in control) / (len(control) - 1))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("m", [1, 2, 5, 10])
def test_score_of_m_images_is_its_formula(name: str, m: int) -> None:
    rng = np.random.default_rng(m)
    # Rounded, so that activations tie with each other and with the control set.
    activations = np.round(rng.normal(0.5, 1, (20, m)), 1)
    similarities = rng.uniform(-1, 1, (20, m))
    control = np.sort(np.round(rng.normal(size=(20, 30)), 1), axis=1)
    simulation, length = rng.uniform(-1, 1, 20), rng.integers(1, 9, 20) / 2
    found, _ = score(
        name,
        activations=activations,
        counts=np.full(20, m),
        m=m,
        similarities=similarities,
        controls=control,
        simulations=simulation,
        lengths=length,
    )
    for row, value in enumerate(found):
        images = activations[row].tolist(), similarities[row].tolist(), control[row].tolist()
        assert value == pytest.approx(plain(name, *images, simulation[row], length[row], m))


@pytest.mark.parametrize("name", SCORES)
@given(lengths=hnp.arrays(np.float64, (2, 6), elements=st.floats(0, 20, width=16)))
@FEW
def test_a_word_costs_under_grounded_k_alone(name: str, lengths: FloatArray) -> None:
    """Each word takes 0.04 off and leaves the error; the other scores ignore lengths."""
    activations, similarities = samples(6, 8, seed=12)
    (one, error), (other, other_error) = (
        score(
            name,
            activations=activations,
            counts=np.full(6, 8),
            m=M,
            similarities=similarities,
            controls=np.broadcast_to(CONTROL, (6, len(CONTROL))),
            simulations=np.full(6, 0.4),
            lengths=length,
        )
        for length in lengths
    )
    price = 0.04 if name == "grounded_k" else 0.0
    np.testing.assert_allclose(one - other, price * (lengths[1] - lengths[0]), atol=1e-12)
    np.testing.assert_allclose(price_of_words(name, lengths), price * lengths, atol=1e-12)
    np.testing.assert_array_equal(error, other_error)


@pytest.mark.parametrize("name", SCORES)
def test_a_value_is_its_drawn_part_and_simulation_less_its_words(name: str) -> None:
    """As the environment takes it apart: drawings decide one part, real images and the text the rest."""
    activations, similarities = samples(50, 9, seed=8)
    parts, errors = score_all(drawn_part(name), activations, similarities)
    whole, whole_errors = score_all(name, activations, similarities)
    share = drawn_share(name)
    words = price_of_words(name, np.full(50, 2.0))
    np.testing.assert_allclose(whole, share * parts + (1 - share) * 0.4 - words)  # the numbers of `score_all`
    np.testing.assert_allclose(whole_errors, share * errors)
    assert drawn_share(drawn_part(name)) == 1


def shift_in_errors(few: FloatArray, many: FloatArray) -> float:
    """How many standard errors the means of two simulations lie apart."""
    return float(abs(few.mean() - many.mean()) / sqrt(few.var() / few.size + many.var() / many.size))


FEW_IMAGES, MANY_IMAGES = samples(40_000, 5, seed=5), samples(5000, 40, seed=40)


@pytest.mark.parametrize("name", SCORES)
def test_expectation_does_not_depend_on_the_number_of_images(name: str) -> None:
    assert shift_in_errors(score_all(name, *FEW_IMAGES)[0], score_all(name, *MANY_IMAGES)[0]) < 4


def test_the_similarity_in_semantic_k_does_not_depend_on_the_number_of_images_either() -> None:
    """Alone, because the noise of the activations would hide it."""
    (few, _), (many, errors) = (score_all("semantic_k", 0 * a, s) for a, s in (FEW_IMAGES, MANY_IMAGES))
    assert shift_in_errors(few, many) < 4
    assert sqrt(np.square(errors).mean()) == pytest.approx(many.std(), rel=0.05)


def test_the_simulation_would_notice_scores_that_grow_with_the_sample() -> None:
    few, many = (activations for activations, _ in (FEW_IMAGES, MANY_IMAGES))
    assert shift_in_errors(np.sort(few)[:, -2:].mean(axis=1), np.sort(many)[:, -16:].mean(axis=1)) > 8
    assert shift_in_errors(np.median(few, axis=1), np.median(many, axis=1)) > 8
    similar_few, similar_many = (similarities.mean(axis=1) ** 2 for _, similarities in (FEW_IMAGES, MANY_IMAGES))
    assert shift_in_errors(similar_few, similar_many) > 8


@pytest.mark.parametrize("name", SCORES)
@given(data=st.data())
@FEW
def test_higher_activations_never_score_lower(name: str, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 12))
    # A square is higher for a strong negative activation too: there the promise is about activations above the control.
    least = 0.0 if name in ("sq_mean", "topk_sq_mean") else -10.0
    activations = data.draw(hnp.arrays(np.float64, (1, n), elements=st.floats(least, 10, width=32)))
    raised = activations + data.draw(st.floats(0, 5, width=32))
    similarities = np.full((1, n), 0.3)
    assert score_all(name, raised, similarities)[0][0] >= score_all(name, activations, similarities)[0][0] - 1e-9


@pytest.mark.parametrize("name", SCORES)
def test_unfilled_places_do_not_matter(name: str) -> None:
    activations, similarities = samples(40, 12, seed=3)
    counts = np.arange(40) % 13
    control = np.broadcast_to(CONTROL, (40, len(CONTROL)))
    garbage = np.random.default_rng(0).choice([np.nan, np.inf, -np.inf, 1e30, 0.0], (2, *activations.shape))
    filled, half, words = np.arange(12) < counts[:, None], np.full(40, 0.4), np.full(40, 2.0)
    clean = score(
        name,
        activations=np.where(filled, activations, 0),
        counts=counts,
        m=M,
        similarities=np.where(filled, similarities, 0),
        controls=control,
        simulations=half,
        lengths=words,
    )
    unclean = np.where(filled, activations, garbage[0]), np.where(filled, similarities, garbage[1])
    dirty = score(
        name,
        activations=unclean[0],
        counts=counts,
        m=M,
        similarities=unclean[1],
        controls=control,
        simulations=half,
        lengths=words,
    )
    np.testing.assert_array_equal(clean, dirty)
    for row in (1, 7, 12, 38):
        alone = score_all(name, activations[[row], : counts[row]], similarities[[row], : counts[row]])
        assert (dirty[0][row], dirty[1][row]) == pytest.approx((alone[0][0], alone[1][0]))


@pytest.mark.parametrize("name", SCORES)
def test_no_image_scores_zero_and_one_image_is_unsure(name: str) -> None:
    activations, similarities = samples(2, 6, seed=4)
    control = np.broadcast_to(CONTROL, (2, len(CONTROL)))
    values, errors = score(
        name,
        activations=activations,
        counts=np.array([0, 1]),
        m=M,
        similarities=similarities,
        controls=control,
        simulations=np.full(2, 0.4),
        lengths=np.full(2, 2.0),
    )
    assert (values[0], errors[0]) == (0, 0)
    assert errors[1] >= 0.5


@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray], ids=["C", "Fortran"])
@pytest.mark.parametrize("name", SCORES)
def test_a_row_does_not_depend_on_the_others(name: str, layout: Any) -> None:
    rng = np.random.default_rng(5)
    activations, similarities = samples(33, 25, seed=5)
    counts = rng.integers(0, 26, 33)
    control = np.sort(rng.normal(size=(33, 100)), axis=1)
    simulation, length = rng.uniform(-1, 1, 33), rng.uniform(0, 4, 33)
    together = score(
        name,
        activations=layout(activations),
        counts=counts,
        m=M,
        similarities=layout(similarities),
        controls=layout(control),
        simulations=simulation,
        lengths=length,
    )
    for row in range(33):
        one = slice(row, row + 1)
        alone = score(
            name,
            activations=activations[one],
            counts=counts[one],
            m=M,
            similarities=similarities[one],
            controls=control[one],
            simulations=simulation[one],
            lengths=length[one],
        )
        assert (together[0][row], together[1][row]) == (alone[0][0], alone[1][0])


def test_auc_of_ties() -> None:
    controls = np.array([[0.0, 1.0, 1.0, 2.0]])
    value, _ = score("auc", activations=np.array([[1.0, 2.0, -1.0, 3.0]]), counts=np.array([4]), m=M, controls=controls)
    assert value[0] == pytest.approx((0.5 + 0.875 + 0 + 1) / 4)


def test_mad_of_a_constant_control_set_is_zero() -> None:
    value, error = score(
        "mad", activations=np.array([[1.0, 2.0]]), counts=np.array([2]), m=M, controls=np.full((1, 9), 0.25)
    )
    assert (value[0], error[0]) == (0, 0)


def test_an_unknown_score_is_refused_with_the_near_ones() -> None:
    for name in SCORES:
        check_score(name)
    with pytest.raises(DnRError, match=r"`score` must be one of log_k, … \(got 'log_kk'\)"):
        check_score("log_kk")


# --- standard errors ------------------------------------------------------------------------------


@given(hnp.arrays(np.float64, st.tuples(st.just(1), st.integers(2, 30)), elements=st.floats(-10, 10, width=32)))
@FEW
def test_error_of_the_mean_is_the_textbook_one(activations: FloatArray) -> None:
    error = score_all("mean", activations, np.zeros_like(activations))[1][0]
    assert error == pytest.approx(activations.std(ddof=1) / sqrt(activations.size), abs=1e-12)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("n", [10, 40])
def test_error_is_the_spread_of_the_score(name: str, n: int) -> None:
    values, errors = score_all(name, *samples(4000, n, seed=100 + n))
    # The influence function of a median of few images is the crudest of them.
    tolerance = 0.2 if name == "median" else 0.08
    assert sqrt(np.square(errors).mean()) == pytest.approx(values.std(), rel=tolerance)


@pytest.mark.parametrize("name", SCORES)
def test_equal_images_leave_no_doubt(name: str) -> None:
    assert score_all(name, np.full((1, 8), 0.7), np.full((1, 8), 0.5))[1][0] == pytest.approx(0, abs=1e-6)


# --- Describe-and-Dissect's rule ------------------------------------------------------------------


def dnd_by_hand(activations: list[list[float]], similarities: list[list[float]], best: int, top: int) -> list[float]:
    """The rule in the words of its docstring, one image at a time."""
    images = [(-a, c, i) for c, row in enumerate(activations) for i, a in enumerate(row)]
    ranks = {(c, i): rank for rank, (_, c, i) in enumerate(sorted(images))}
    squared = []
    for c, row in enumerate(activations):
        strongest = sorted(ranks[c, i] for i in range(len(row)))[:best]
        squared.append(sum(rank**2 for rank in strongest) / len(strongest))
    by_square = sorted(range(len(activations)), key=lambda c: (squared[c], c))
    found = []
    for c, row in enumerate(similarities):
        weighing = [similarity for i, similarity in enumerate(row) if ranks[c, i] < top]
        weight = sum(weighing) / len(weighing) if weighing else -1.0
        found.append((len(activations) - by_square.index(c)) * weight)
    return found


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_dnd_rule_is_its_description(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 8), st.integers(1, 12)))
    # Whole numbers tie often.
    activations = data.draw(hnp.arrays(np.float64, shape, elements=st.integers(-3, 6)))
    similarities = data.draw(hnp.arrays(np.float64, shape, elements=st.floats(-1, 1, width=32)))
    best, top = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 12))
    expected = dnd_by_hand(activations.tolist(), similarities.tolist(), best, top)
    np.testing.assert_allclose(dnd_selection(activations, similarities, best=best, top=top), expected, atol=1e-12)


def test_dnd_sentinel_puts_the_best_ranked_concept_last_if_it_is_absent_from_the_top() -> None:
    # Concept 0 holds ranks 10 to 14; each of ten others one of the ten strongest images, and then nothing much.
    activations = np.zeros((11, 5))
    activations[1:, 0] = np.linspace(20, 11, 10)
    activations[0] = np.linspace(9, 5, 5)
    similarities = np.full((11, 5), 0.6)
    found = dnd_selection(activations, similarities)
    assert found[0] == -11
    assert found.argmin() == 0
    # With one image among the ten strongest, the same concept is the label.
    activations[0, 0] = 100
    assert dnd_selection(activations, similarities).argmax() == 0


# --- simulation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_correlation_is_pearsons(kind: type[np.floating[Any]]) -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(2, 6, 300)).astype(kind)
    y += x * np.linspace(-2, 2, 6)[:, None].astype(kind)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(correlation(x, y), expected, atol=1e-6)
    # Neurons have all sorts of scales.
    np.testing.assert_allclose(correlation(x, y * kind(1e-9)), expected, atol=1e-6)
    np.testing.assert_allclose(correlation(x * kind(1e9), y), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@given(constant=st.floats(-1e6, 1e6, width=32), images=st.integers(1, 3000))
@FEW
def test_correlation_with_a_constant_is_zero(kind: type[np.floating[Any]], constant: float, images: int) -> None:
    flat = np.full((1, images), constant / 3, kind)
    varied = np.random.default_rng(images).normal(size=(1, images)).astype(kind)
    assert correlation(flat, varied)[0] == 0
    assert correlation(varied, flat)[0] == 0
    assert correlation(flat, flat)[0] == 0
