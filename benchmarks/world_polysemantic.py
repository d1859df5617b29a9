"""Finds units for which "A or B" is a better label than any one noun phrase (docs/explanation/scenes.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnr_env.scenes.render import OBJECTS, Scenes
from dnr_env.scenes.truth import object_words
from dnr_env.shapes.lexicon import MEMBERS, OPEN, VALUES
from dnr_env.shapes.parse import values_of
from dnr_env.types import BoolArray, FloatArray, IntArray

TOP = 0.01
"""The share of the pictures that are a unit's top pictures."""
FIRST_PARTS = 50
"""How many of the best phrases are tried as A."""
GAIN = 0.10
"""A unit is polysemantic if J of "A or B" is higher than J of the best phrase by this much."""
_PHRASES = 1000  # whose truth is worked out together


def truth(scenes: Scenes, phrases: Sequence[str]) -> FloatArray:
    """(n, phrases) float32, 1 where one object of a picture and its background have all that a phrase names."""
    values = np.array([values_of(phrase) for phrase in phrases])
    columns = np.where(values == OPEN, len(VALUES), values)  # the last column says yes
    allowed = [_allowed(scenes, place) for place in range(OBJECTS)]
    result = np.empty((len(scenes.objects), len(phrases)), np.float32)
    for start in range(0, len(phrases), _PHRASES):
        part = columns[start : start + _PHRASES].T
        shown = np.zeros((len(result), part.shape[1]), bool)
        for of_object in allowed:
            all_named = of_object[:, part[0]]
            for column in part[1:]:
                all_named &= of_object[:, column]
            shown |= all_named
        result[:, start : start + _PHRASES] = shown
    return result


def _allowed(scenes: Scenes, place: int) -> BoolArray:
    """(n, values + 1) which values are true of one object or of its background; the last is true of any object."""
    words = object_words(scenes, place)
    return np.concatenate([words @ MEMBERS.T, words.any(axis=1, keepdims=True)], axis=1)


def top_pictures(activations: FloatArray) -> IntArray:
    """(units, top) the strongest pictures of each unit, of activations (pictures, units)."""
    count = round(TOP * len(activations))
    order: IntArray = np.argsort(-activations, axis=0, kind="stable")[:count].T
    return order


def informedness(true: FloatArray, top: IntArray) -> FloatArray:
    """J (units, labels): the share of a unit's top pictures that a label is true of, minus that of the others.

    Args:
        true: (pictures, labels), 0 or 1.
        top: (units, top) pictures.
    """
    of_top = np.stack([true[pictures].sum(axis=0) for pictures in top])
    return _j(of_top, true.sum(axis=0), top.shape[1], len(true))


def _j(of_top: FloatArray, of_all: FloatArray, top: int, pictures: int) -> FloatArray:
    """J of a label that is true of `of_top` of the top pictures and of `of_all` of all pictures."""
    return of_top / top - (of_all - of_top) / (pictures - top)


def best_labels(true: FloatArray, top: IntArray) -> IntArray:
    """(units, 3) the phrase with the highest J, and A and B of the best "A or B".

    Args:
        true: (pictures, phrases), 0 or 1.
        top: (units, top) pictures.
    """
    single = np.argsort(-informedness(true, top), axis=1, kind="stable")[:, :FIRST_PARTS]
    tried, places = np.unique(single, return_inverse=True)
    both = true[:, tried].T @ true  # (tried, phrases) pictures that both are true of
    of_all = true.sum(axis=0)
    found = []
    for pictures, best, place in zip(top, single, places.reshape(single.shape), strict=True):
        of_unit = true[pictures]
        of_top = of_unit.sum(axis=0)
        either_top = of_top[best][:, None] + of_top - of_unit[:, best].T @ of_unit
        either_all = of_all[best][:, None] + of_all - both[place]
        j = _j(either_top, either_all, len(pictures), len(true))
        first, second = divmod(int(j.argmax()), true.shape[1])
        found.append([best[0], best[first], second])
    return np.array(found)


def gains(true: FloatArray, top: IntArray, labels: IntArray) -> FloatArray:
    """(units,) J of "A or B" minus J of the best phrase, for the `best_labels` (units, 3) of other pictures."""
    single, first, second = (true[:, phrases] for phrases in labels.T)
    return _own_j(np.maximum(first, second), top) - _own_j(single, top)


def _own_j(true: FloatArray, top: IntArray) -> FloatArray:
    """(units,) J of one label for each unit, true of pictures (pictures, units)."""
    of_top = np.take_along_axis(true, top.T, axis=0).sum(axis=0)
    return _j(of_top, true.sum(axis=0), top.shape[1], len(true))


def polysemantic(activations: Sequence[FloatArray], true: Sequence[FloatArray]) -> BoolArray:
    """(units,) whether "A or B", found on one half of the pictures, is better than one phrase on the other half.

    Args:
        activations: (pictures, units) of either half.
        true: `truth` (pictures, phrases) of either half.
    """
    labels = best_labels(true[0], top_pictures(activations[0]))
    result: BoolArray = gains(true[1], top_pictures(activations[1]), labels) >= GAIN
    return result
