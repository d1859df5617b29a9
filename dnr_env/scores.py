"""Scores of a concept from the activations of its images. Pure arrays; higher is better everywhere.

Scores that depend on the order of the images are L-statistics: the expectation of the score of `m` images over all
subsets of size `m` of the `n` seen. So they do not grow with n, and measuring a concept again changes its score by
chance alone. Names and formulas: docs/scores.md.
"""

from __future__ import annotations

from collections.abc import Callable
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
GROUNDED_ALPHA = 0.5
"""What activation counts in `grounded_k`; the rest is simulation."""


def check_score(name: str) -> None:
    """Raise DnRError unless `name` is one of SCORES."""
    if name not in SCORES:
        raise unknown("score", name, SCORES)


@cache
def subset_weights(n: int, of_subset: tuple[float, ...]) -> FloatArray:
    """Weights of n sorted values: the mean over all subsets of size m of a weighted sum of the sorted subset.

    The j-th smallest of a subset is the i-th smallest of all with probability C(i-1, j-1) C(n-i, m-j) / C(n, m).

    Args:
        n: how many values there are.
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
    """(length + 1, length): row n holds the weights of n values in its last n places; subsets are of min(m, n)."""
    table = np.zeros((length + 1, length))
    for n in range(1, length + 1):
        table[n, length - n :] = subset_weights(n, _weights_for(name, min(m, n)))
    return table


def top_k(k: int, m: int) -> tuple[float, ...]:
    """Subset weights of the mean of the k largest of m."""
    return (0.0,) * (m - k) + (1 / k,) * k


def middle(m: int) -> tuple[float, ...]:
    """Subset weights of the median of m."""
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
    activations: FloatArray,
    counts: IntArray,
    m: int,
    similarities: FloatArray | None = None,
    control: FloatArray | None = None,
    simulation: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Score concepts, and say how sure that is.

    Args:
        name: one of SCORES.
        activations: (..., images) normalised activations, the first `counts` of each row filled.
        counts: (...) images of each concept; 0 gives score and error 0.
        m: the subset size that order statistics refer to; of these the top half counts.
        similarities: (..., images) cosine of each image with the exemplars; for `semantic_k`.
        control: (..., controls) sorted normalised activations of the control set; for `auc` and `mad`.
        simulation: (...) each concept's correlation with the neuron over the probe set; for `grounded_k`.

    Returns:
        (...) scores and (...) standard errors, float64. The standard error is that of the L-statistic by its
        influence function, for the mean the sample standard deviation / √n; with one image it is 1.
    """
    length = activations.shape[-1]
    place = np.arange(length)
    filled = place < counts[..., None]
    values: FloatArray = activations.astype(np.float64)
    if name == "auc":
        assert control is not None
        values = _share_below(values, control)
    elif name == "mad":
        assert control is not None
        control = np.ascontiguousarray(control)  # the last digits of a sum depend on the layout
        spread = control.std(axis=-1, ddof=1)
        centre = control.mean(axis=-1)
        values = np.divide(
            values - centre[..., None], spread[..., None], out=np.zeros_like(values), where=spread[..., None] > 0
        )
    elif name == "sq_mean":
        values = np.square(np.maximum(values, 0.0))  # a neuron that is held down is not excited
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
        assert simulation is not None
        result = GROUNDED_ALPHA * result + (1 - GROUNDED_ALPHA) * simulation
        error = GROUNDED_ALPHA * error
    empty = counts == 0
    return np.where(empty, 0.0, result), np.where(empty, 0.0, error)


def excitement(activations: FloatArray) -> FloatArray:
    """log(1 + max(a, 0)) of normalised activations, of which `log_k` takes the mean; below a typical image it is 0."""
    result: FloatArray = np.log1p(np.maximum(activations, 0.0))
    return result


def promise(name: str, excited: FloatArray, simulation: Callable[[], FloatArray]) -> FloatArray:
    """What orders concepts by the score to expect of them, before anything of them is drawn.

    Args:
        name: one of SCORES.
        excited: (...) the `excitement` to expect of a concept's images.
        simulation: gives (...) its correlation with the neuron over the probe set; called where the score counts it.
    """
    return GROUNDED_ALPHA * excited + (1 - GROUNDED_ALPHA) * simulation() if name == "grounded_k" else excited


def _standard_error(values: FloatArray, weights: FloatArray, counts: IntArray) -> FloatArray:
    """Standard error of Σ w_i a_(i) by the influence function of an L-statistic (Serfling 1980, section 8.1).

    The influence of the i-th smallest value is, up to a constant, the sum of the gaps below it, each times the weight
    function there: n times the mean of its two neighbours' weights.
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
    """Mean over all subsets of size m of the squared subset mean, and its standard error by the delta method.

    The plain square of the mean of n would fall as n grows, by the variance of the mean.
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
    """The selection rule of Describe-and-Dissect's published code: one number a concept, the highest is the label.

    All images are ranked together by activation, 0 the strongest. S_c is the mean squared rank of the `best` strongest
    images of concept c; p_c = C - (place of c by S, ascending); w_c is the mean similarity of those images of c that
    are among the `top` strongest of all, or the sentinel -1 if none is; the result is p_c w_c. The sentinel turns the
    order round for absent concepts, as it does in the published code. Ranks exist only relative to the other concepts,
    so this selects and is never a reward.

    Args:
        activations: (concepts, images) activations.
        similarities: (concepts, images) cosine of each image with the neuron's exemplars.
        best: images of a concept that its squared rank is taken over.
        top: how many of the strongest of all images weigh.

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
    """Simulation score: Pearson correlation over the probe set, 0 where either side is constant.

    Args:
        similarity: (labels, images) similarity of each label with each probe image.
        activations: (labels, images) activations of each label's neuron.

    Returns:
        (labels,) between -1 and 1.
    """
    result: FloatArray = (_standardised(similarity) * _standardised(activations)).sum(axis=1)
    return result


def _standardised(rows: FloatArray) -> FloatArray:
    """Rows (n, images) less their means, of length one; 0 for constant rows."""
    centred = rows.astype(np.float64) - rows.mean(axis=1, keepdims=True, dtype=np.float64)
    varies = np.ptp(rows, axis=1, keepdims=True) > 0
    norm = np.sqrt(np.square(centred).sum(axis=1, keepdims=True))
    result: FloatArray = np.divide(centred, norm, out=np.zeros_like(centred), where=varies & (norm > 0))
    return result
