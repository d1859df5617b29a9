"""A second embedder, which only the judge uses: it measures labels in another space than the one that found them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from dnr_env.evidence.probe import Probe
from dnr_env.interfaces import Embedder
from dnr_env.types import FloatArray, IntArray


class SecondEmbedder:
    """Texts and real images in the judge's own space.

    Args:
        fingerprint: identifies the embedder.
        embedder: embeds the texts.
        embed_probe: returns the embeddings (images, dim) of the probe images. It is called when they are first needed.
    """

    def __init__(self, fingerprint: str, embedder: Embedder, embed_probe: Callable[[], FloatArray]) -> None:
        self.fingerprint = fingerprint
        self.embedder = embedder
        self._embed_probe = embed_probe
        self._seen: Probe | None = None

    @cached_property
    def embeddings(self) -> FloatArray:
        """(images, dim) unit embeddings of the probe images."""
        return self._embed_probe()

    def simulation(self, probe: Probe, labels: Sequence[str], neurons: IntArray) -> tuple[FloatArray, FloatArray]:
        """(b,) `Probe.simulation` and (b,) `Probe.simulation_error` of label i and neuron i in this space."""
        if self._seen is None or self._seen.activations is not probe.activations:
            self._seen = Probe(probe.fingerprint, probe.activations, self.embeddings, probe.images)
        texts = self.embedder.embed_texts(labels)
        return self._seen.simulation(texts, neurons), self._seen.simulation_error(texts, neurons)
