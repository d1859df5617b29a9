"""CLIP-Dissect and linear explanations on arrays: words whose embeddings match the images that excite a neuron."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnr_env.scores import correlation
from dnr_env.types import BoolArray, FloatArray, IntArray

TOP = 100
TEMPERATURE = 10.0
PENALTY = 1.0
"""The published settings of `clip_dissect`."""
_CERTAIN, _LEAST = 0.998, 0.97  # p(x in B) of the strongest and of the weakest image
_GAIN = 0.02
"""The least gain in held-out correlation of a further term in `linear_explanation`, as in the published code."""
_BLOCK = 128  # neurons whose correlations with all words are computed together


def clip_dissect(
    activations: FloatArray,
    image_embeddings: FloatArray,
    text_embeddings: FloatArray,
    *,
    top: int = TOP,
    temperature: float = TEMPERATURE,
    penalty: float = PENALTY,
) -> FloatArray:
    """Score how well each word names each neuron by soft pointwise mutual information. Higher is better.

    B is the set of a neuron's strongest images. An image belongs to it with probability p(x in B), which falls from
    0.998 for the strongest image to 0.97 for the last one. Let p(word | x) be the softmax over the words of
    `temperature` times the cosine of image and text. The score is

        log p(word | B) - penalty log p(word),   log p(word | B) = sum over x of log(1 + p(x in B) (p(word | x) - 1)),

    where p(word) is the mean of p(word | B) over the neurons. The penalty lowers words that fit every neuron. Therefore
    scores depend on the given neurons, ideally a whole layer, and compare only among them. A single neuron is scored
    without the penalty.

    Args:
        activations: (images, neurons).
        image_embeddings: (images, dim) of length one.
        text_embeddings: (words, dim) of length one.
        top: The number of images in B, at most.
        temperature: The factor on cosines before the softmax. The published 10 is low, and was chosen for CLIP.
        penalty: The weight λ of the paper on common words.

    Returns:
        (neurons, words) float64. Neurons that are constant or not always finite have 0 and are left out of p(word).

    Source: Oikarinen & Weng 2023, "CLIP-Dissect", equations of SoftWPMI, with the constants of the published code.
    """
    best = strongest(activations, top)
    return soft_wpmi(best, _alive(activations), image_embeddings, text_embeddings, temperature, penalty)


def strongest(activations: FloatArray, top: int = TOP) -> IntArray:
    """Find the indices (neurons, top) of the images that excite each neuron most, from (images, neurons)."""
    order: IntArray = np.argsort(-activations.T.astype(np.float64), axis=1, kind="stable")[:, :top]
    return order


def soft_wpmi(
    best: IntArray,
    alive: BoolArray,
    image_embeddings: FloatArray,
    text_embeddings: FloatArray,
    temperature: float = TEMPERATURE,
    penalty: float = PENALTY,
) -> FloatArray:
    """Compute `clip_dissect` from the strongest images, which `strongest` can find for parts of a wide layer.

    Args:
        best: (neurons, top) indices of images, as `strongest` returns them.
        alive: (neurons,) bool. The other neurons have the score 0.
        image_embeddings: See `clip_dissect`, as for the rest.
        text_embeddings: See `clip_dissect`.
        temperature: See `clip_dissect`.
        penalty: See `clip_dissect`.
    """
    texts = text_embeddings.T.astype(np.float64)
    top = best.shape[1]
    member = _CERTAIN - np.arange(top) / max(top, 1) * (_CERTAIN - _LEAST)
    scores = np.zeros((len(best), text_embeddings.shape[0]))
    if not alive.any():
        return scores
    for neuron in np.flatnonzero(alive):
        similarity = temperature * (image_embeddings[best[neuron]].astype(np.float64) @ texts)
        word = np.exp(similarity - similarity.max(axis=1, keepdims=True))
        word /= word.sum(axis=1, keepdims=True)
        scores[neuron] = np.log1p(member[:, None] * (word - 1)).sum(axis=0)
    if alive.sum() > 1:
        scores[alive] -= penalty * _log_mean_exp(scores[alive])
    return scores


def linear_explanation(
    activations: FloatArray,
    image_embeddings: FloatArray,
    text_embeddings: FloatArray,
    words: Sequence[str],
    terms: int = 3,
) -> list[list[tuple[str, float]]]:
    """Explain each neuron as a sum of a few words: activation ≈ Σ weight × similarity of the image with the word.

    Words are chosen greedily on half of the images. Each step adds the word that correlates most with the residual and
    refits all weights, which are never negative. On the other half, a further word must raise the correlation of the
    sum with the activations (the simulation score) by 0.02. Finally the weights are fitted to all images.

    Args:
        activations: (images, neurons).
        image_embeddings: (images, dim) of length one.
        text_embeddings: (words, dim) of length one.
        words: The texts of the words.
        terms: The most words per neuron.

    Returns:
        For each neuron, words and positive weights, largest first. A weight is in standard deviations of the activation
        per standard deviation of the similarity, so the weight of a single word is its correlation. The list is empty
        if the neuron is constant or not always finite, or if no word correlates positively with it.

    Source: Oikarinen & Weng 2024, "Linear Explanations for Individual Neurons". The paper proposes words by an elastic
    net and calibrates similarities to probabilities. Here words are chosen greedily by plain similarities.
    """
    count = len(activations)
    shuffled = np.random.default_rng(0).permutation(count)
    fit, held = np.sort(shuffled[: (count + 1) // 2]), np.sort(shuffled[(count + 1) // 2 :])
    similarity = (image_embeddings @ text_embeddings.T).astype(np.float32)  # (images, words)
    similarity = _standardised(similarity, similarity[fit])
    results: list[list[tuple[str, float]]] = []
    for start in range(0, activations.shape[1], _BLOCK):
        block = np.array(activations[:, start : start + _BLOCK], dtype=np.float64)
        block[:, ~_alive(block)] = 0.0
        chosen = _greedy(similarity[fit], similarity[held], _standardised(block[fit], block[fit]), block[held], terms)
        targets = _standardised(block, block)
        for column, places in enumerate(chosen):
            if not places:
                results.append([])
                continue
            chosen_similarity = similarity[:, places].astype(np.float64)
            weights = _weights(_standardised(chosen_similarity, chosen_similarity), targets[:, column])
            order = [i for i in np.argsort(-weights, kind="stable") if weights[i] > 0]
            results.append([(words[places[i]], float(weights[i])) for i in order])
    return results


def _greedy(
    fitted: FloatArray, held: FloatArray, targets: FloatArray, truth: FloatArray, terms: int
) -> list[list[int]]:
    """Choose the words of each neuron.

    Args:
        fitted: (a, words) standardised similarities of the images that weights are fitted to.
        held: (b, words) similarities of the held-out images, on the same scale.
        targets: (a, neurons) standardised activations.
        truth: (b, neurons) activations of the held-out images.
        terms: The most words per neuron.
    """
    neurons = targets.shape[1]
    chosen: list[list[int]] = [[] for _ in range(neurons)]
    best = np.full(neurons, -np.inf)
    residual = targets.copy()
    searching: BoolArray = np.asarray(targets.any(axis=0))
    for _ in range(terms):
        if not searching.any():
            break
        fits = fitted.T @ residual.astype(fitted.dtype)  # (words, neurons)
        for neuron in np.flatnonzero(searching):
            fits[chosen[neuron], neuron] = -np.inf
            word = int(np.argmax(fits[:, neuron]))
            searching[neuron] = fits[word, neuron] > 1e-6 * len(fitted)  # less is a rounding error
            if not searching[neuron]:
                continue
            places = [*chosen[neuron], word]
            weights = _weights(fitted[:, places], targets[:, neuron])
            reached = correlation((held[:, places] @ weights)[None], truth[None, :, neuron])[0]
            searching[neuron] = not chosen[neuron] or reached - best[neuron] >= _GAIN
            if searching[neuron]:
                chosen[neuron], best[neuron] = places, reached
                residual[:, neuron] = targets[:, neuron] - fitted[:, places] @ weights
    return chosen


def _weights(similarity: FloatArray, target: FloatArray) -> FloatArray:
    """Fit non-negative weights (terms,) of similarities (images, terms) to a target (images,) by least squares."""
    from scipy.optimize import nnls  # slow to import, and needed here only

    weights: FloatArray = nnls(similarity.astype(np.float64), target.astype(np.float64))[0]
    return weights


def _alive(activations: FloatArray) -> BoolArray:
    """Find the neurons that are finite on all images (images, neurons) and not constant."""
    with np.errstate(invalid="ignore"):
        varies = activations.max(axis=0) > activations.min(axis=0)
    alive: BoolArray = varies & np.isfinite(activations).all(axis=0)
    return alive


def _standardised(values: FloatArray, reference: FloatArray) -> FloatArray:
    """Standardise columns by mean and deviation of a reference (images, columns). Constant columns become 0."""
    mean = reference.mean(axis=0, dtype=np.float64)
    spread = reference.std(axis=0, dtype=np.float64)
    varies = spread > 1e-6 * np.abs(reference).max(axis=0)  # less is a rounding error
    scaled = (values - mean.astype(values.dtype)) / np.where(varies, spread, np.inf).astype(values.dtype)
    result: FloatArray = scaled
    return result


def _log_mean_exp(scores: FloatArray) -> FloatArray:
    """Compute the logarithm (words,) of the mean over neurons of exp(scores), from (neurons, words)."""
    highest = scores.max(axis=0)
    result: FloatArray = highest + np.log(np.exp(scores - highest).mean(axis=0))
    return result
