"""A second embedder, which only the judge uses: it measures labels in another space than the one that found them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from dnr_env.evidence.probe import Probe
from dnr_env.evidence.texts import Texts
from dnr_env.interfaces import Embedder
from dnr_env.structure import Structure, one_phrase
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
        self._seen: tuple[Probe, Probe] | None = None

    @cached_property
    def embeddings(self) -> FloatArray:
        """(images, dim) unit embeddings of the probe images."""
        return self._embed_probe()

    def simulation(
        self,
        probe: Probe,
        labels: Sequence[str],
        neurons: IntArray,
        parts: Callable[[str], Structure] = one_phrase,
    ) -> tuple[FloatArray, FloatArray]:
        """(b,) `Texts.simulation` and (b,) `Texts.simulation_error` of label i and neuron i in this space.

        Args:
            probe: the probe set or a part of it.
            labels: b texts.
            neurons: (b,) indices.
            parts: takes a label apart. See `dnr_env.interfaces.Language`.
        """
        if self._seen is None or self._seen[0] is not probe:
            self._seen = probe, probe.embedded(self.embeddings)
        ours, texts = self._seen[1], Texts(self.embedder, parts)
        return texts.simulation(ours, labels, neurons), texts.simulation_error(ours, labels, neurons)
