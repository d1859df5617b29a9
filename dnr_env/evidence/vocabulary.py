"""The vocabulary: the concepts to choose from, with their embeddings and simulations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from dnr_env.evidence.cover import covered
from dnr_env.evidence.probe import Probe
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.interfaces import Embedder
from dnr_env.structure import words_in
from dnr_env.types import FloatArray, IntArray


class Vocabulary:
    """Concepts, their embeddings, and how well they predict neurons on the probe set. Each is computed when needed.

    Args:
        read: returns the concepts, as `Language.normalise` returns them.
        embedder: embeds the concepts in the space of the image embeddings.
        probes: the real images.
        length: returns the length of a concept in words. See `dnr_env.interfaces.Language`.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[str]],
        embedder: Embedder,
        probes: ProbeSource,
        length: Callable[[str], float] = words_in,
    ) -> None:
        self._read = read
        self.length = length
        self.embedder = embedder
        self.probes = probes
        self._covers: dict[str, int] = {}

    @cached_property
    def concepts(self) -> Sequence[str]:
        """The texts of the concepts."""
        return self._read()

    @property
    def probe(self) -> Probe:
        """The real images that the search sees."""
        return self.probes.clean

    @cached_property
    def embeddings(self) -> FloatArray:
        """(concepts, dim) float64."""
        return self.embedder.embed_texts(self.concepts).astype(np.float64)

    @cached_property
    def spread(self) -> FloatArray:
        """(concepts,) deviations of the concepts' similarities with the real images. See `Probe.spread`."""
        return self.probe.spread(self.embeddings)

    @cached_property
    def lengths(self) -> FloatArray:
        """(concepts,) the length of each concept in words."""
        return np.array([self.length(concept) for concept in self.concepts])

    def simulation(self, texts: Sequence[str], neurons: IntArray) -> FloatArray:
        """(b,) how well noun phrase i predicts neuron i on the real images. See `Probe.simulation`."""
        return self.probe.simulation(self.embedder.embed_texts(texts), neurons)

    def simulations(self, neuron: int) -> FloatArray:
        """(concepts,) `Probe.simulation` of every concept for one neuron."""
        result: FloatArray = self.embeddings @ self.probe.towards(np.array([neuron]))[0] / self.spread
        return result

    def covers(self, texts: Sequence[str]) -> list[int]:
        """The number of real images that each of some texts covers. See `cover.covered`."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._covers]:
            images = covered(self.probe.embeddings, self.embedder.embed_texts(new))
            self._covers.update(zip(new, images.sum(axis=1).tolist(), strict=True))
        return [self._covers[text] for text in texts]
