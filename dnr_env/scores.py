"""Scores of a concept, computed from the activations of its images. Higher is always better.

Scores that depend on the order of the images are L-statistics: the mean score over all subsets of size `m` of the `n`
images seen. They therefore do not grow with n, and measuring more images of a concept changes its score only by chance.
Names and formulas: docs/reference/formulas.md.
"""

from __future__ import annotations

from functools import cache
from math import comb
from typing import Literal, get_args

import numpy as np

from dnr_env.errors import unknown
from dnr_env.types import FloatArray, IntArray

ScoreName = Literal["mean", "median", "sq_mean", "topk_sq_mean", "log_k", "semantic_k", "auc", "mad", "grounded_k"]
SCORES: tuple[str, ...] = get_args(ScoreName)
RANKED = SCORES[:6]
"""The six scoring methods of the DnR report's Table 1."""
SEMANTIC_ALPHA = 0.7
GROUNDED_ALPHA = 0.6
"""The weight of activation in `grounded_k`. Simulation has the rest."""
WORD_PRICE = 0.04
"""What a word of a label costs in `grounded_k`. See docs/explanation/scores.md."""


def check_score(name: str) -> None:
    """Raise DnRError unless `name` is one of SCORES."""
    if name not in SCORES:
        raise unknown("score", name, SCORES)


@cache
def subset_weights(n: int, of_subset: tuple[float, ...]) -> FloatArray:
    """Weights of n sorted values: the mean, over all subsets of size m, of a weighted sum of the sorted subset.

    The j-th smallest of a subset is the i-th smallest of all with probability C(i-1, j-1) C(n-i, m-j) / C(n, m).

    Args:
        n: the number of values.
        of_subset: the m <= n weights of a sorted subset, smallest value first.

    Returns:
        (n,) float64, smallest value first.
    """
    m = len(of_subset)
    weights = np.zeros(n)
    for i in range(1, n + 1):
        for j, weight in enumerate(of_subset, 1):
            if weight:
                weights[i - 1] += weight * (comb(i - 1, j - 1) * comb(n - i, m - j) / comb(n, m))
    return weights


@cache
def _weight_table(length: int, name: str, m: int) -> FloatArray:
    """(length + 1, length): row n holds the weights of n values in its last n places, for subsets of size min(m, n)."""
    table = np.zeros((length + 1, length))
    for n in range(1, length + 1):
        table[n, length - n :] = subset_weights(n, _weights_for(name, min(m, n)))
    return table


def top_k(k: int, m: int) -> tuple[float, ...]:
    """The subset weights of the mean of the k largest of m values."""
    return (0.0,) * (m - k) + (1 / k,) * k


def middle(m: int) -> tuple[float, ...]:
    """The subset weights of the median of m values."""
    half = [0.0] * m
    half[(m - 1) // 2] += 0.5
    half[m // 2] += 0.5
    return tuple(half)


def _weights_for(name: str, m: int) -> tuple[float, ...]:
    if name in ("topk_sq_mean", "log_k", "semantic_k", "grounded_k"):
        return top_k(max(1, m // 2), m)
    return middle(m) if name == "median" else (1 / m,) * m


def score(
    name: str,
    *,
    activations: FloatArray,
    counts: IntArray,
    m: int,
    similarities: FloatArray | None = None,
    controls: FloatArray | None = None,
    simulations: FloatArray | None = None,
    lengths: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Score concepts, and estimate the standard errors of the scores.

    Args:
        name: one of SCORES.
        activations: (..., images) normalised activations. Only the first `counts` of each row are read.
        counts: (...) number of images of each concept. A concept with no image has score 0 and error 0.
        m: the subset size of the order statistics, which average the top half of a subset.
        similarities: (..., images) cosine of each image with the exemplars; needed by `semantic_k`.
        controls: (..., controls) sorted normalised activations of the control set; needed by `auc` and `mad`.
        simulations: (...) each concept's correlation with the neuron over the probe set; needed by `grounded_k`.
        lengths: (...) each concept's length in words; needed by `grounded_k`.

    Returns:
        (...) scores and (...) standard errors, float64. The standard error of an L-statistic follows from its influence
        function; for the mean, it is the sample standard deviation / √n. With one image, it is 1.
    """
    length = activations.shape[-1]
    place = np.arange(length)
    filled = place < counts[..., None]
    values: FloatArray = activations.astype(np.float64)
    if name == "auc":
        assert controls is not None
        values = _share_below(values, controls)
    elif name == "mad":
        assert controls is not None
        controls = np.ascontiguousarray(controls)  # the rounding of a sum depends on the memory layout
        spread = controls.std(axis=-1, ddof=1)
        centre = controls.mean(axis=-1)
        values = np.divide(
            values - centre[..., None], spread[..., None], out=np.zeros_like(values), where=spread[..., None] > 0
        )
    elif name == "sq_mean":
        values = np.square(np.maximum(values, 0.0))  # an inhibited neuron must not score as an excited one
    # Empty places sort first, where the weights are zero.
    values = np.sort(np.where(filled, values, -np.inf), axis=-1)
    values = np.where(place >= length - counts[..., None], values, 0.0)
    if name == "topk_sq_mean":
        values = np.square(np.maximum(values, 0.0))
    elif name in ("log_k", "grounded_k"):
        values = excitement(values)
    weights = _weight_table(length, name, m)[counts]
    result = (weights * values).sum(axis=-1)
    error = _standard_error(values, weights, counts)
    if name == "semantic_k":
        assert similarities is not None
        squared, squared_error = _squared_mean(np.where(filled, similarities, 0.0), counts, m)
        result = SEMANTIC_ALPHA * result + (1 - SEMANTIC_ALPHA) * squared
        error = np.hypot(SEMANTIC_ALPHA * error, (1 - SEMANTIC_ALPHA) * squared_error)
    elif name == "grounded_k":
        assert simulations is not None
        assert lengths is not None
        result = GROUNDED_ALPHA * result + (1 - GROUNDED_ALPHA) * simulations - price_of_words(name, lengths)
        error = GROUNDED_ALPHA * error
    empty = counts == 0
    return np.where(empty, 0.0, result), np.where(empty, 0.0, error)


def excitement(activations: FloatArray) -> FloatArray:
    """log(1 + max(a, 0)) of normalised activations: 0 below a typical image. `log_k` is a mean of these."""
    result: FloatArray = np.log1p(np.maximum(activations, 0.0))
    return result


def drawn_part(name: str) -> str:
    """The score of what drawings decide of a value: `log_k` of `grounded_k`, and otherwise the score itself."""
    return "log_k" if name == "grounded_k" else name


def drawn_share(name: str) -> float:
    """The weight of that part. Simulation, which real images decide, has the rest."""
    return GROUNDED_ALPHA if name == "grounded_k" else 1.0


def price_of_words(name: str, lengths: FloatArray, word_price: float = WORD_PRICE) -> FloatArray:
    """What labels of some lengths in words cost under a score: nothing, unless it is `grounded_k`."""
    return (word_price if name == "grounded_k" else 0.0) * lengths


def _standard_error(values: FloatArray, weights: FloatArray, counts: IntArray) -> FloatArray:
    """Standard error of Σ w_i a_(i) by the influence function of an L-statistic (Serfling 1980, section 8.1).

    Up to a constant, the influence of the i-th smallest value is the sum of the gaps below it. Each gap is multiplied
    by the weight function there, which is n times the mean weight of its two ends.
    """
    n = np.maximum(counts, 1)[..., None]
    gaps = np.diff(values, axis=-1)
    filled = np.arange(values.shape[-1]) >= values.shape[-1] - counts[..., None]
    steps = np.where(filled[..., :-1], gaps * n * (weights[..., 1:] + weights[..., :-1]) / 2, 0.0)
    influence = np.concatenate([np.zeros((*steps.shape[:-1], 1)), np.cumsum(steps, axis=-1)], axis=-1)
    mean = (influence * filled).sum(axis=-1, keepdims=True) / n
    squares = (np.square(influence - mean) * filled).sum(axis=-1)
    n = n[..., 0]
    return np.where(n > 1, np.sqrt(squares / (n * np.maximum(n - 1, 1))), 1.0)


def _squared_mean(values: FloatArray, counts: IntArray, m: int) -> tuple[FloatArray, FloatArray]:
    """Mean, over all subsets of size m, of the squared subset mean, and its standard error by the delta method.

    The square of the mean of n values would shrink as n grows, as it contains the variance of the mean.
    """
    n = np.maximum(counts, 1)
    size = np.minimum(m, n)
    total, squares = values.sum(axis=-1), np.square(values).sum(axis=-1)
    pairs = np.divide(np.square(total) - squares, n * (n - 1), out=np.zeros_like(total), where=n > 1)
    result = (squares / n + (size - 1) * pairs) / size
    mean = total / n
    variance = np.maximum(squares / n - np.square(mean), 0) / np.maximum(n - 1, 1)
    return result, 2 * np.abs(mean) * np.sqrt(variance)


def _share_below(values: FloatArray, control: FloatArray) -> FloatArray:
    """For each value, P(control < value) + ½ P(control = value); control (..., c) sorted, values (..., images)."""
    out = np.empty(values.shape)
    flat_control = np.broadcast_to(control, (*values.shape[:-1], control.shape[-1])).reshape(-1, control.shape[-1])
    for row, (one, reference) in enumerate(zip(values.reshape(-1, values.shape[-1]), flat_control, strict=True)):
        both = np.searchsorted(reference, one, "left") + np.searchsorted(reference, one, "right")
        out.reshape(-1, values.shape[-1])[row] = both / (2 * len(reference))
    return out


def dnd_selection(activations: FloatArray, similarities: FloatArray, *, best: int = 5, top: int = 10) -> FloatArray:
    """Select a label by the rule of Describe-and-Dissect's published code: the concept with the highest number.

    All images are ranked together by activation, beginning with 0 for the strongest. S_c is the mean squared rank of
    the `best` strongest images of concept c, and p_c = C - (place of c by S, ascending). w_c is the mean similarity of
    those images of c that are among the `top` strongest of all, or the sentinel -1 if there are none. The result is
    p_c w_c. The sentinel reverses the order of concepts without such images, as it does in the published code. A rank
    is relative to the other concepts, so this rule can select a label but cannot serve as a reward.

    Args:
        activations: (concepts, images) activations.
        similarities: (concepts, images) cosine of each image with the neuron's exemplars.
        best: the number of a concept's images that its squared rank averages.
        top: the number of strongest images that determine the weights.

    Returns:
        (concepts,) float64.
    """
    concepts, images = activations.shape
    order = np.argsort(-activations.ravel(), kind="stable")
    flat = np.empty(order.size)
    flat[order] = np.arange(order.size)
    rank = flat.reshape(concepts, images)
    squared = np.square(np.sort(rank, axis=1)[:, :best]).mean(axis=1)
    place = np.empty(concepts)
    place[np.argsort(squared, kind="stable")] = np.arange(concepts)
    present = rank < top
    hits = present.sum(axis=1)
    weight = np.where(hits > 0, (similarities * present).sum(axis=1) / np.maximum(hits, 1), -1.0)
    result: FloatArray = (concepts - place) * weight
    return result


def correlation(similarity: FloatArray, activations: FloatArray) -> FloatArray:
    """Simulation score: Pearson correlation over the probe set, or 0 if either side is constant.

    Args:
        similarity: (labels, images) similarity of each label with each probe image.
        activations: (labels, images) activations of each label's neuron.

    Returns:
        (labels,) between -1 and 1.
    """
    result: FloatArray = (_standardised(similarity) * _standardised(activations)).sum(axis=1)
    return result


def _standardised(rows: FloatArray) -> FloatArray:
    """Centre rows (n, images) and scale them to length one. A constant row becomes 0."""
    centred = rows.astype(np.float64) - rows.mean(axis=1, keepdims=True, dtype=np.float64)
    varies = np.ptp(rows, axis=1, keepdims=True) > 0
    norm = np.sqrt(np.square(centred).sum(axis=1, keepdims=True))
    result: FloatArray = np.divide(centred, norm, out=np.zeros_like(centred), where=varies & (norm > 0))
    return result
