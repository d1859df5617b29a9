"""A vocabulary whose words cover as many of the searched images as their names say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnr_env.evidence.probe import EXEMPLARS, Probe
from dnr_env.evidence.probe_source import ProbeSource, searched
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.types import FloatArray

SIZES = (10, 14, 16, 40, 100)
"""The numbers of searched images that words cover."""


class ClusteredWords:
    """Embeds "size:place": in the direction of `size` equal images, and at an angle of `place` degrees beside that."""

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """(n, dim) float32 unit vectors."""
        rows = np.zeros((len(texts), len(SIZES) + 2), np.float32)
        for row, text in zip(rows, texts, strict=True):
            size, place = text.split(":")
            row[SIZES.index(int(size))] = 0.1
            angle = np.deg2rad(float(place))
            row[-2:] = np.sqrt(0.99) * np.array([np.cos(angle), np.sin(angle)])
        return rows


def clustered(words: Sequence[str]) -> Vocabulary:
    """Make the vocabulary, and real images on which three neurons are random."""
    clusters = [*np.repeat(np.arange(len(SIZES)), SIZES), *[0] * EXEMPLARS]  # the last images are held out
    embeddings = np.eye(len(SIZES) + 2, dtype=np.float32)[clusters]
    activations = np.random.default_rng(0).normal(size=(len(embeddings), 3)).astype(np.float32)
    files = np.array([f"{i}.png" for i in range(4 * len(embeddings))])
    half = searched(files)
    sources = [*files[half][: sum(SIZES)], *files[~half][:EXEMPLARS]]
    probe = Probe("clusters", activations, embeddings, lambda indices: [], source=lambda row: str(sources[row]))
    return Vocabulary(lambda: words, ClusteredWords(), ProbeSource(lambda _: probe))
