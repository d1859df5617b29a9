"""Coverage and precision of concepts on the real images that are searched, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dnr_env.evidence.cover import Cover, cover
from dnr_env.evidence.probe import Probe
from dnr_env.evidence.texts import Texts
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.structure import Structure, one_phrase
from dnr_env.types import BoolArray, FloatArray, IntArray

_KEPT_BYTES = 1 << 27  # of covers, and of excitements
_KEPT_PAIRS = 1 << 17


class Covers:
    """Coverage and precision on the images of a vocabulary's probe set, which are searched.

    Args:
        vocabulary: the real images, and their embedder.
        parts: takes a text apart. See `dnr_env.interfaces.Language`.
    """

    def __init__(self, vocabulary: Vocabulary, parts: Callable[[str], Structure] = one_phrase) -> None:
        self.vocabulary = vocabulary
        self.texts = Texts(vocabulary.embedder, parts)
        self._shown: dict[str, BoolArray] = {}
        self._excited: dict[int, FloatArray] = {}
        self._pairs: dict[tuple[str, int], tuple[float, ...]] = {}

    @property
    def probe(self) -> Probe:
        """The real images."""
        return self.vocabulary.probe

    def of(self, texts: Sequence[str], neurons: IntArray) -> Cover:
        """How text i covers neuron i. A result does not depend on the others."""
        if len(self._pairs) + len(texts) > _KEPT_PAIRS:
            self._pairs = {}
        pairs = list(zip(texts, neurons.tolist(), strict=True))
        if new := [pair for pair in dict.fromkeys(pairs) if pair not in self._pairs]:
            found = self._measure([text for text, _ in new], [neuron for _, neuron in new])
            self._pairs.update(zip(new, zip(*(column.tolist() for column in found), strict=True), strict=True))
        return Cover(*np.array([self._pairs[pair] for pair in pairs]).reshape(len(pairs), len(Cover._fields)).T)

    def _measure(self, texts: Sequence[str], neurons: Sequence[int]) -> Cover:
        return cover(self.shown(texts), np.stack([self.excited(neuron) for neuron in neurons]))

    def shown(self, texts: Sequence[str]) -> BoolArray:
        """(b, images) which images text i covers. See `Texts.covered`."""
        if len(self._shown) + len(texts) > _KEPT_BYTES // len(self.probe.embeddings):
            self._shown = {}
        if new := [text for text in dict.fromkeys(texts) if text not in self._shown]:
            self._shown.update(zip(new, self.texts.covered(self.probe, new), strict=True))
        return np.stack([self._shown[text] for text in texts])

    def excited(self, neuron: int) -> FloatArray:
        """(images,) float64 excitement of a neuron, from 0 to 1; 1 is as strong as the exemplars."""
        if neuron not in self._excited:
            if len(self._excited) >= max(1, _KEPT_BYTES // (8 * len(self.probe.embeddings))):
                self._excited = {}
            which = np.array([neuron])
            excited = self.probe.normalise(self.probe.real(which), which)[0].astype(np.float64)
            self._excited[neuron] = np.clip(excited, 0, 1)
        return self._excited[neuron]
