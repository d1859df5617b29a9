"""How often each word occurs: in every family a few words are common and most are rare, as in real images."""

from __future__ import annotations

import numpy as np

from dnr_env.shapes.lexicon import FAMILIES, FAMILY_SLICES, MEMBERS, VALUE_FAMILY, VALUES
from dnr_env.types import FloatArray, IntArray

_BY_FREQUENCY: tuple[tuple[str, ...], ...] = (
    ("small", "large", "tiny", "huge"),
    ("white", "red", "blue", "green", "yellow", "brown", "orange", "pink", "cyan", "purple"),
    ("solid", "shaded", "striped", "dotted", "speckled", "checkered", "wavy", "hatched"),
    ("circle", "square", "bar", "triangle", "oval", "ring", "star", "cross", "crescent", "hexagon"),
    ("sky", "grass", "grey", "sand", "water", "black", "snow", "brick"),
)
"""The words of each family, commonest first. The r-th has a weight of 1 / r (Zipf's law)."""


def _frequencies(family: int) -> FloatArray:
    weights = np.array([1 / (1 + _BY_FREQUENCY[family].index(word)) for word in FAMILIES[family].words])
    frequencies: FloatArray = weights / weights.sum()
    return frequencies


FREQUENCIES: tuple[FloatArray, ...] = tuple(_frequencies(family) for family in range(len(FAMILIES)))
"""The probability of each word, by family, where nothing is asked for."""


def _cumulative(family: int, wrong: bool) -> FloatArray:
    """(values + 1, words) cumulative probabilities, a row for each value and, last, one for OPEN (-1)."""
    allowed = np.ones((len(VALUES) + 1, len(FREQUENCIES[family])), bool)
    own = np.flatnonzero(family == VALUE_FAMILY)
    allowed[own] = MEMBERS[own][:, FAMILY_SLICES[family]] != wrong
    summed = np.cumsum(allowed * FREQUENCIES[family], axis=1)
    cumulative: FloatArray = summed / summed[:, -1:]
    return cumulative


_ALLOWED = tuple(_cumulative(family, wrong=False) for family in range(len(FAMILIES)))
_OTHERS = tuple(_cumulative(family, wrong=True) for family in range(len(FAMILIES)))


def chances(family: int, slips: float) -> FloatArray:
    """How often a drawing shows each word of a family.

    Args:
        family: the family.
        slips: the probability that a word is drawn that the value does not allow.

    Returns:
        (values + 1, words) a row for each value of the family and, last, one for OPEN (-1). Other rows mean nothing.
    """
    right, wrong = (np.diff(table[family], axis=1, prepend=0) for table in (_ALLOWED, _OTHERS))
    mixed: FloatArray = (1 - slips) * right + slips * wrong
    return mixed


def pick(family: int, values: IntArray | int, uniforms: FloatArray, wrong: bool = False) -> IntArray:
    """Choose words by frequency among those that values allow.

    Args:
        family: the family of the values.
        values: (n,) one value each, or OPEN, which allows every word; or one for all.
        uniforms: (n,) random numbers from 0 to 1.
        wrong: choose among the words that the value does not allow. OPEN allows every word here too.

    Returns:
        (n,) codes within the family.
    """
    cumulative = (_OTHERS if wrong else _ALLOWED)[family][values]
    return np.asarray((uniforms[..., None] >= cumulative).sum(axis=-1))
