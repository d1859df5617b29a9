"""What a simulated user knows of the neurons of `scenes` and no mutator does: what other pictures truly show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from dnr_env.interfaces import Language
from dnr_env.scenes.render import OBJECTS, SceneRenderer
from dnr_env.scenes.truth import object_words
from dnr_env.scores import correlation
from dnr_env.shapes.lexicon import ANYTHING, FAMILIES, MAX_NAMED, MEMBERS, OPEN, VALUE_FAMILY, VALUES, Values, text_of
from dnr_env.shapes.outside import PICTURES, Outside
from dnr_env.shapes.weighing import weighed
from dnr_env.types import BoolArray, FloatArray

_PRIOR = 3.0
"""The number of usual pictures that the mean of those that show a phrase is shrunk by."""


class _Named(NamedTuple):
    """A noun phrase, of what it is true, and what it is worth beside another."""

    values: Values
    objects: BoolArray  # (objects, pictures) in the pictures that count
    excited: float  # the expected excitement of its pictures
    worth: float


class Insight:
    """Names a good label for a neuron, from pictures outside the probe set.

    Word by word, a noun phrase grows to one of at most four words, which is one more than those of the vocabulary: each
    word is the one that makes the phrase best. The length is chosen that is best. A second phrase grows in the same way
    from the pictures that the first is not true of, and is said if both together are better. How good they are follows
    from how the neuron is excited by the pictures that truly show a phrase, and how well these predict it. Each answer
    rests on a bootstrap sample of the pictures, so that answers differ.

    Args:
        outside: the pictures.
        language: says the labels.
    """

    def __init__(self, outside: Outside, language: Language) -> None:
        self._outside, self._language = outside, language

    @cached_property
    def _shown(self) -> BoolArray:
        """(values, objects, pictures) whether a value is true of an object or, of a picture with it, the background."""
        scenes = SceneRenderer().resolve([ANYTHING] * PICTURES, self._outside.seeds.tolist())
        words = np.stack([object_words(scenes, place) for place in range(OBJECTS)])
        return np.moveaxis(words @ MEMBERS.T, -1, 0)

    def __call__(self, neuron: int, rng: np.random.Generator) -> str:
        """Name a label for a neuron."""
        sample = rng.integers(PICTURES, size=PICTURES)
        shown, excited = self._shown[..., sample], self._outside.excited[neuron, sample]
        first = max(_growing(shown, excited, []), key=lambda named: named.worth)
        second = max(_growing(shown, excited, [first]), key=lambda named: named.worth)
        said = [first] if first.worth >= second.worth else [first, second]
        return self._language.normalise(" or ".join(text_of(named.values) for named in said))


def _length(values: Sequence[int]) -> int:
    """The number of words."""
    return sum(value != OPEN for value in values)


def _growing(shown: BoolArray, excited: FloatArray, others: list[_Named]) -> Iterator[_Named]:
    """Yield noun phrases of one word, of two and so on, each with one word more than the one before.

    Only pictures that the other phrases are not true of count for them.

    Args:
        shown: (values, objects, pictures).
        excited: (pictures,) the neuron's excitement.
        others: the phrases that the label says already.
    """
    values, usual = [OPEN] * len(FAMILIES), excited.mean()
    covered = np.any([other.objects.any(axis=0) for other in others] or [np.zeros(len(excited), bool)], axis=0)
    objects = np.broadcast_to(~covered, shown.shape[1:])
    named = np.zeros(len(VALUES), bool)
    for _ in range(MAX_NAMED + 1):
        narrower = objects & shown
        true = narrower.any(axis=1)
        foretold = usual + true @ (excited - usual) / (true.sum(axis=1) + _PRIOR)
        either = true | covered
        simulation = correlation(either.astype(np.float64), np.broadcast_to(excited, either.shape))
        mean = (foretold + sum(other.excited for other in others)) / (1 + len(others))
        length = (_length(values) + 1 + sum(_length(other.values) for other in others)) / (1 + len(others))
        worth = weighed("grounded_k", mean, simulation, np.asarray(length))
        worth[named] = -np.inf
        best = int(worth.argmax())
        family = VALUE_FAMILY[best]
        values[family] = best
        named |= family == VALUE_FAMILY
        objects = narrower[best]
        yield _Named(tuple(values), objects, float(foretold[best]), float(worth[best]))
