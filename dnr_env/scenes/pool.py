"""One pool of pictures that tells of every noun phrase how its drawings excite every neuron."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dnr_env.evidence.probe import Probe
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.tail import FREQUENCIES, chances
from dnr_env.shapes.lexicon import FAMILIES, OPEN, VALUES, text_of
from dnr_env.shapes.parse import values_of
from dnr_env.shapes.weighing import log_k
from dnr_env.types import FloatArray, IntArray

_IMAGES = 60
"""The pictures of the pool that represent one phrase."""
_NAMED = 0.6
"""The probability that a picture's phrase names a word of a family. Every word is as likely, so rare ones occur."""


class Pool:
    """Pictures of random phrases, from which those of any phrase are resampled by importance.

    A picture counts for a phrase by how much likelier its generator is to draw what the picture describes than the pool
    is. The generator's slips are thus known.

    Args:
        measure: draws faithfully n phrases with n seeds, and measures (n, neurons) raw activations.
        seeds: (n,) the seeds of the pictures.
        infidelity: how often the generator slips, for each family.
    """

    def __init__(
        self,
        measure: Callable[[Sequence[str], IntArray], FloatArray],
        seeds: IntArray,
        infidelity: Sequence[float],
    ) -> None:
        phrases = _phrases(len(seeds))
        shown = SceneRenderer().resolve(phrases, seeds.tolist())
        self._codes = np.concatenate([shown.objects[:, 0], shown.backgrounds[:, None]], axis=1)
        self._activations = measure(phrases, seeds)
        self._likelier = [chances(f, slips) / _pool_chances(f) for f, slips in enumerate(infidelity)]

    def rows(self, phrase: str) -> IntArray:
        """The pictures that represent a phrase. Some occur several times."""
        weights = np.ones(len(self._codes))
        for family, value in enumerate(values_of(phrase)):
            weights *= self._likelier[family][value][self._codes[:, family]]
        summed = np.cumsum(weights)
        return np.asarray(np.searchsorted(summed, (np.arange(_IMAGES) + 0.5) / _IMAGES * summed[-1]))

    def log_k(self, phrase: str, probe: Probe) -> FloatArray:
        """(neurons,) how the drawings of a phrase excite each neuron."""
        return log_k(probe, self._activations[self.rows(phrase)])


def _phrases(count: int) -> list[str]:
    rng = np.random.default_rng(0)
    values = np.full((count, len(FAMILIES)), OPEN)
    for family, known in enumerate(FAMILIES):
        words = np.array([VALUES.index((family, word)) for word in known.words])
        named = rng.random(count) < _NAMED
        values[named, family] = rng.choice(words, size=named.sum())
    return [text_of(tuple(row)) for row in values.tolist()]


def _pool_chances(family: int) -> FloatArray:
    """(words,) how often the pool shows each word of a family."""
    common = FREQUENCIES[family]
    result: FloatArray = _NAMED / len(common) + (1 - _NAMED) * common
    return result
