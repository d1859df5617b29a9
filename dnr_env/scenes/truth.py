"""The pictures' true attributes as vectors: the judge's own embedder, in which nothing is recognised wrongly."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from dnr_env.scenes.render import OBJECTS, Scenes
from dnr_env.scenes.tail import FREQUENCIES
from dnr_env.shapes.lexicon import BACKGROUND, FAMILY_SLICES, OPEN, WORDS, allowed_words
from dnr_env.shapes.parse import values_of
from dnr_env.types import BoolArray, FloatArray

_PAIRS = [
    (one, other)
    for one, other in itertools.combinations(range(len(WORDS)), 2)
    if not any(part.start <= one < part.stop and part.start <= other < part.stop for part in FAMILY_SLICES)
]
_FIRST, _SECOND = (np.array(side) for side in zip(*_PAIRS, strict=True))
DIM = len(WORDS) + len(_PAIRS)
_COMMON = np.concatenate(FREQUENCIES)


def true_embeddings(scenes: Scenes) -> FloatArray:
    """(n, DIM) float32 unit vectors: which words, and which pairs of words of one object, the pictures show.

    A background goes with every object. Vectors are centred on the pictures' mean.
    """
    shown = np.zeros((len(scenes.objects), DIM), bool)
    for place in range(OBJECTS):
        shown |= _with_pairs(object_words(scenes, place))
    centred = shown - shown.mean(axis=0)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    result: FloatArray = (centred / np.maximum(norms, 1e-9)).astype(np.float32)
    return result


def object_words(scenes: Scenes, place: int) -> BoolArray:
    """(n, words) the words of one object and its background; none where there is no such object."""
    words = np.zeros((len(scenes.objects), len(WORDS)), bool)
    rows = np.flatnonzero(scenes.objects[:, place, 0] >= 0)
    for family, part in enumerate(FAMILY_SLICES):
        codes = scenes.backgrounds if family == BACKGROUND else scenes.objects[:, place, family]
        words[rows, part.start + codes[rows]] = True
    return words


def _with_pairs(words: BoolArray) -> BoolArray:
    return np.concatenate([words, words[:, _FIRST] & words[:, _SECOND]], axis=1)


class TrueEmbedder:
    """Embeds noun phrases by the words and pairs that they name, a hypernym by how common each of its words is."""

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """(n, DIM) float32 unit vectors."""
        return np.stack([_embedding(text) for text in texts])


@lru_cache(maxsize=65536)
def _embedding(text: str) -> FloatArray:
    values = values_of(text)
    named = np.zeros(len(WORDS))
    for family, value in enumerate(values):
        if value != OPEN:
            part = FAMILY_SLICES[family]
            named[part] = allowed_words(values)[part] * _COMMON[part]
            named[part] /= np.linalg.norm(named[part])
    vector = np.concatenate([named, named[_FIRST] * named[_SECOND]])
    if not vector.any():
        vector[:] = 1.0
    row: FloatArray = (vector / np.linalg.norm(vector)).astype(np.float32)
    return row
