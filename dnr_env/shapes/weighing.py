"""What drawings of a concept are worth to every neuron at once, for the searches of the optimum."""

from __future__ import annotations

import numpy as np

from dnr_env.evidence.probe import Probe
from dnr_env.scores import WORD_PRICE, drawn_share, price_of_words, score
from dnr_env.types import FloatArray

PER_MEASURE = 5
"""The subset size m of the drawn scores."""


def log_k(probe: Probe, activations: FloatArray) -> FloatArray:
    """(neurons,) scores of one concept, from its raw activations (images, neurons) and the scale of the real images."""
    scaled = probe.normalise(activations.T, np.arange(activations.shape[1]))
    return score("log_k", activations=scaled, counts=np.full(len(scaled), scaled.shape[1]), m=PER_MEASURE)[0]


def weighed(
    goal: str, drawn: FloatArray, simulation: FloatArray, lengths: FloatArray, word_price: float = WORD_PRICE
) -> FloatArray:
    """Values (...) under one of `optimum.SCORES`.

    Args:
        goal: the score.
        drawn: (...) what drawings decide of it. See `dnr_env.scores.drawn_part`.
        simulation: (...) simulation on real images.
        lengths: (...) lengths of the labels, in words.
        word_price: what a word costs, if the score prices words.
    """
    share = drawn_share(goal)
    return share * drawn + (1 - share) * simulation - price_of_words(goal, lengths, word_price)
