"""Labels without a generator: words whose text embedding fits the images that excite a neuron. Pure arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnr_env.models.hub import needed
from dnr_env.scores import correlation
from dnr_env.types import BoolArray, FloatArray, IntArray

TOP = 100
TEMPERATURE = 10.0
PENALTY = 1.0
"""The published settings of `clip_dissect`."""
_CERTAIN, _LEAST = 0.998, 0.97  # probability of the strongest and of the weakest image of belonging to the set
_GAIN = 0.02
"""A further term of `linear_explanation` must raise the held-out correlation by this, as in the published code."""
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
    """How well each word names each neuron, as soft pointwise mutual information; higher is better.

    B is the set of a neuron's strongest images, to which an image belongs with probability p(x in B): 0.998 for the
    strongest down to 0.97 for the last of the `top`. With p(word | x) the softmax over the words of `temperature` times
    the cosine of image and text, the score is

        log p(word | B) - penalty log p(word),   log p(word | B) = sum over x of log(1 + p(x in B) (p(word | x) - 1)),

    where p(word) is the mean of p(word | B) over the neurons. So a word that suits every neuron names none; scores are
    relative to the neurons given, which are best a whole layer, and compare only within them. A neuron that is alone
    has nothing to be told apart from, and its scores go without the penalty.

    Args:
        activations: (images, neurons).
        image_embeddings: (images, dim) of length one.
        text_embeddings: (words, dim) of length one.
        top: images of B; at most all there are.
        temperature: how sharply an image decides between words; the published 10 is mild, and it was set for CLIP.
        penalty: λ of the paper, what a word's being common counts.

    Returns:
        (neurons, words) float64; 0 for neurons that are constant or not finite everywhere, which p(word) leaves out.

    Source: Oikarinen & Weng 2023, "CLIP-Dissect", equations of SoftWPMI, with the constants of the published code.
    """
    best = strongest(activations, top)
    return soft_wpmi(best, _alive(activations), image_embeddings, text_embeddings, temperature, penalty)


def strongest(activations: FloatArray, top: int = TOP) -> IntArray:
    """(neurons, top) indices of the images that excite each neuron most, best first, of (images, neurons)."""
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
    """`clip_dissect` where the strongest images are known, so that a wide layer can be ranked part by part.

    Args:
        best: (neurons, top) indices of images, as `strongest` gives them.
        alive: (neurons,) bool; the others score 0.
        image_embeddings: see `clip_dissect`, as the rest.
        text_embeddings: see `clip_dissect`.
        temperature: see `clip_dissect`.
        penalty: see `clip_dissect`.
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
    """Each neuron as a sum of a few words: activation ≈ Σ weight × similarity of the image with the word.

    Words are chosen greedily on half of the images, each time the one that correlates most with what is not yet
    explained, all weights refitted and none negative. On the other half, a further word must raise the correlation of
    the sum with the activations, the simulation score, by 0.02. The weights are then fitted to all images.

    Args:
        activations: (images, neurons).
        image_embeddings: (images, dim) of length one.
        text_embeddings: (words, dim) of length one.
        words: their texts.
        terms: the most words of a neuron.

    Returns:
        For each neuron, words and weights > 0, the largest first: standard deviations of the activation for one
        standard deviation of the similarity, so that of a single word is its correlation. At least one word, unless
        the neuron is constant or not finite everywhere, or no word rises with it: then none.

    Raises:
        DnRError: scipy is not installed.

    Source: Oikarinen & Weng 2024, "Linear Explanations for Individual Neurons". There an elastic net proposes words and
    similarities are calibrated to probabilities; here a greedy choice over the plain similarities does.
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
    """The words of each neuron.

    Args:
        fitted: (a, words) standardised similarities of the images that weights are fitted to.
        held: (b, words) similarities of the other images, on the same scale.
        targets: (a, neurons) standardised activations.
        truth: (b, neurons) activations of the other images.
        terms: the most words of a neuron.
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
            searching[neuron] = fits[word, neuron] > 1e-6 * len(fitted)  # below that, rounding
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
    """(terms,) weights, none negative, of the sum of similarities (images, terms) that is nearest to (images,)."""
    with needed():
        from scipy.optimize import nnls
    weights: FloatArray = nnls(similarity.astype(np.float64), target.astype(np.float64))[0]
    return weights


def _alive(activations: FloatArray) -> BoolArray:
    """(neurons,) bool: finite on all images (images, neurons), and not constant."""
    with np.errstate(invalid="ignore"):
        varies = activations.max(axis=0) > activations.min(axis=0)
    alive: BoolArray = varies & np.isfinite(activations).all(axis=0)
    return alive


def _standardised(values: FloatArray, reference: FloatArray) -> FloatArray:
    """Columns less the mean of their reference (images, columns), over its standard deviation; 0 where that is 0."""
    mean = reference.mean(axis=0, dtype=np.float64)
    spread = reference.std(axis=0, dtype=np.float64)
    varies = spread > 1e-6 * np.abs(reference).max(axis=0)  # below that, rounding
    scaled = (values - mean.astype(values.dtype)) / np.where(varies, spread, np.inf).astype(values.dtype)
    result: FloatArray = scaled
    return result


def _log_mean_exp(scores: FloatArray) -> FloatArray:
    """(words,) logarithm of the mean over the neurons of exp(scores), (neurons, words)."""
    highest = scores.max(axis=0)
    result: FloatArray = highest + np.log(np.exp(scores - highest).mean(axis=0))
    return result
