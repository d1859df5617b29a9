"""How often a CLIP is right about pictures whose codes are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from dnr_env.scenes.clip import ClipImages, ClipTexts
from dnr_env.scenes.render import OBJECTS, Scenes
from dnr_env.shapes.lexicon import BACKGROUND, FAMILIES, OPEN, SIZE, VALUES, text_of
from dnr_env.types import BoolArray, FloatArray, ImageArray, IntArray

_GALLERY = 1000
"""The pictures among which a caption has to find its own."""


def recall(images: FloatArray, texts: FloatArray, k: int) -> float:
    """The share of n texts whose own picture is among the k nearest of n pictures; unit vectors (n, dim)."""
    similarity = texts @ images.T
    nearer = (similarity > np.diagonal(similarity)[:, None]).sum(axis=1)
    return float(np.mean(nearer < k))


def auc(scores: FloatArray, true: BoolArray) -> float:
    """The probability that a picture with a word scores higher than one without it; scores (n,), true (n,)."""
    positive, negative = true.sum(), (~true).sum()
    return float((rankdata(scores)[true].sum() - positive * (positive + 1) / 2) / (positive * negative))


def mean_auc(scores: FloatArray, true: BoolArray) -> float:
    """The mean AUC of several words; scores and true (n, words)."""
    return float(np.mean([auc(scores[:, word], true[:, word]) for word in range(true.shape[1])]))


def count_objects(scenes: Scenes) -> IntArray:
    """(n,) the number of objects of each picture."""
    return np.asarray((scenes.objects[..., SIZE] >= 0).sum(axis=1))


def shown(scenes: Scenes, family: int) -> BoolArray:
    """(n, words) which words of a family are true of an object, or of the background, of each picture."""
    codes = scenes.backgrounds[:, None] if family == BACKGROUND else scenes.objects[..., family]
    table: BoolArray = (codes[..., None] == np.arange(len(FAMILIES[family].words))).any(axis=1)
    return table


def prompts(family: int) -> list[str]:
    """A text for each word of a family that names nothing else, as in "a red thing"."""
    texts = []
    for word in FAMILIES[family].words:
        values = [OPEN] * len(FAMILIES)
        values[family] = VALUES.index((family, word))
        texts.append(f"a {text_of(tuple(values))}")
    return texts


def quality(embedder: ClipImages, texts: ClipTexts, images: ImageArray, captions: Sequence[str], scenes: Scenes) -> str:
    """Make a table of recall and, by family, zero-shot accuracy by number of objects, and AUC.

    Accuracy is how often the nearest word of a family is true of the picture; its chance is that of the word that is
    true most often. The AUC is a mean over the words, among pictures with equally many objects: a caption of one thing
    is nearer to a picture of one object, whatever it shows.

    Args:
        embedder: embeds the pictures.
        texts: embeds captions and words.
        images: (n, 64, 64, 3), n a multiple of 1,000.
        captions: n captions.
        scenes: what the n pictures show.
    """
    rows, own = embedder.embed(images), texts.embed_texts(captions)
    galleries = [slice(start, start + _GALLERY) for start in range(0, len(rows), _GALLERY)]
    found = np.mean([recall(rows[part], own[part], k=10) for part in galleries])
    lines = [
        f"recall@10 of captions among 1,000 pictures: {found:.3f} (chance 0.010)",
        f"{'':<12}" + "".join(f"{f'{n} object' + 's' * (n > 1):>22}" for n in range(1, OBJECTS + 1)) + f"{'AUC':>8}",
    ]
    groups = [np.flatnonzero(count_objects(scenes) == n) for n in range(1, OBJECTS + 1)]
    for family, kind in enumerate(FAMILIES):
        true, similarity = shown(scenes, family), rows @ texts.embed_texts(prompts(family)).T
        right = true[np.arange(len(rows)), similarity.argmax(axis=1)]
        line = f"{kind.name:<12}"
        for group in groups:
            line += f"{f'{right[group].mean():.3f} (chance {true[group].mean(axis=0).max():.3f})':>22}"
        areas = [mean_auc(similarity[group], true[group]) for group in groups]
        lines.append(line + f"{np.mean(areas):>8.3f}")
    return "\n".join(lines)
