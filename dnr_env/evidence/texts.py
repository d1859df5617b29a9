"""Labels on real images: how similar they are to each image, what they cover, and how well they predict a neuron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dnr_env.evidence.cover import covered
from dnr_env.evidence.probe import Probe, correlation_error, standardised
from dnr_env.interfaces import Embedder
from dnr_env.scores import correlation
from dnr_env.structure import Phrase, Structure, one_phrase, parts_of
from dnr_env.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Texts:
    """The texts of a language in the space of an embedder. A result does not depend on the other texts."""

    embedder: Embedder
    """Embeds noun phrases."""
    parts: Callable[[str], Structure] = one_phrase
    """Takes a text apart. See `dnr_env.interfaces.Language`."""

    def embeddings(self, texts: Sequence[str]) -> FloatArray:
        """(b, dim) float32 unit vectors: of a union, the direction of its parts' mean. Exceptions change nothing."""
        parts = parts_of(texts, self.parts)
        rows = parts.mean(self.embedder.embed_texts(parts.texts))
        joined = parts.counts > 1
        if joined.any():
            rows[joined] /= np.linalg.norm(rows[joined], axis=1, keepdims=True)
        return rows

    def similarity(self, probe: Probe, text: str) -> FloatArray:
        """(images,) float64 similarity of a label with each image.

        The cosines of each phrase are standardised over the images. An image that the exception covers counts as
        average at most, 0. Of a union, the largest similarity of its phrases counts.
        """
        result: FloatArray = np.max([self._of(probe, phrase) for phrase in self.parts(text).phrases], axis=0)
        return result

    def _of(self, probe: Probe, phrase: Phrase) -> FloatArray:
        similarity = standardised(probe.embeddings @ self.embedder.embed_texts([phrase.drawn])[0])
        return similarity if phrase.excluded is None else without(similarity, self._covered(probe, phrase.excluded))

    def simulation(
        self, probe: Probe, texts: Sequence[str], neurons: IntArray, embeddings: FloatArray | None = None
    ) -> FloatArray:
        """(b,) the correlation over the images of text i's similarity with neuron i's activation.

        See `Probe.simulation`, with which it agrees for a plain noun phrase. Embeddings of the texts that are known
        already are not computed again.
        """
        result = probe.simulation(self.embeddings(texts) if embeddings is None else embeddings, neurons)
        for i, text in self._made(texts):
            result[i] = correlation(self.similarity(probe, text)[None], probe.real(neurons[i : i + 1]))[0]
        return result

    def simulation_error(self, probe: Probe, texts: Sequence[str], neurons: IntArray) -> FloatArray:
        """(b,) the standard errors of `simulation` over a random choice of the images."""
        result = probe.simulation_error(self.embeddings(texts), neurons)
        for i, text in self._made(texts):
            result[i] = correlation_error(self.similarity(probe, text), probe.real(neurons[i : i + 1])[0])
        return result

    def covered(self, probe: Probe, texts: Sequence[str]) -> BoolArray:
        """(b, images) which images a label covers: those of its phrases, without those of their exceptions."""
        return np.stack(
            [np.any([self._shown(probe, phrase) for phrase in self.parts(text).phrases], axis=0) for text in texts]
        )

    def _shown(self, probe: Probe, phrase: Phrase) -> BoolArray:
        shown = self._covered(probe, phrase.drawn)
        return shown if phrase.excluded is None else shown & ~self._covered(probe, phrase.excluded)

    def _covered(self, probe: Probe, noun: str) -> BoolArray:
        rows: BoolArray = covered(probe.embeddings, self.embedder.embed_texts([noun]))[0]
        return rows

    def _made(self, texts: Sequence[str]) -> list[tuple[int, str]]:
        """The texts that are not plain noun phrases, with their places."""
        if self.parts is one_phrase:
            return []
        return [(i, text) for i, text in enumerate(texts) if not self.parts(text).plain]


def without(similarity: FloatArray, excluded: BoolArray) -> FloatArray:
    """Standardised similarities (..., images) of a phrase whose exception covers some images (..., images)."""
    return np.where(excluded, np.minimum(similarity, 0.0), similarity)
