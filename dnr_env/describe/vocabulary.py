"""The concepts there are to choose from, as the real images know them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from dnr_env.describe.probe import Probe
from dnr_env.models import Embedder
from dnr_env.types import FloatArray, IntArray


class Vocabulary:
    """Concepts, their embeddings, and how well each of them foretells a neuron on the probe set.

    Args:
        concepts: texts, as `Stack.normalise` returns them.
        embedder: texts into the space of the image embeddings; called once, when first needed.
        probe: the real images.
    """

    def __init__(self, concepts: Sequence[str], embedder: Embedder, probe: Probe) -> None:
        self.concepts = concepts
        self.embedder = embedder
        self.probe = probe
        self._best: dict[int, float] = {}

    @cached_property
    def embeddings(self) -> FloatArray:
        """(concepts, dim) float64."""
        return self.embedder.embed_texts(self.concepts).astype(np.float64)

    @cached_property
    def _spread(self) -> FloatArray:
        return self.probe.spread(self.embeddings)

    def simulations(self, neuron: int) -> FloatArray:
        """(concepts,) `Probe.simulation` of all for one neuron."""
        result: FloatArray = self.embeddings @ self.probe.towards(np.array([neuron]))[0] / self._spread
        return result

    def best_simulation(self, neurons: IntArray) -> FloatArray:
        """(b,) the most that any concept has of it, by neuron."""
        for neuron in set(neurons.tolist()) - self._best.keys():
            self._best[neuron] = float(self.simulations(neuron).max())
        return np.array([self._best[neuron] for neuron in neurons.tolist()])
