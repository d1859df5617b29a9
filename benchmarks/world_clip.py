"""Whether a CLIP tells the right text of a picture of `scenes` from a wrong one (docs/explanation/scenes.md)."""

from __future__ import annotations

import numpy as np
from world_measures import counts

from dnr_env.scenes.render import Scenes
from dnr_env.shapes.lexicon import BACKGROUND, COLOUR, FAMILIES, SHAPE, SIZE
from dnr_env.types import BoolArray, FloatArray, IntArray


def prompts(family: int) -> list[str]:
    """A text for each word of a family, which names nothing else."""
    return [f"thing on {word}" if family == BACKGROUND else f"{word} thing" for word in FAMILIES[family].words]


def full_captions(scenes: Scenes) -> list[str]:
    """Captions of all that pictures show: "a small red striped star and a huge blue solid bar on grass"."""
    pictures = zip(scenes.objects, scenes.backgrounds.tolist(), strict=True)
    backgrounds = FAMILIES[BACKGROUND].words
    return [
        f"{_listed([_object(codes) for codes in own if codes[SIZE] >= 0])} on {backgrounds[b]}" for own, b in pictures
    ]


def binding_captions(scenes: Scenes) -> tuple[list[str], list[str]]:
    """Colours and shapes of pictures of two objects, as they are and with the colours swapped."""
    of_two = scenes.objects[:, :2, [COLOUR, SHAPE]]
    swapped = np.stack([of_two[:, ::-1, 0], of_two[..., 1]], axis=2)
    return _coloured(of_two), _coloured(swapped)


def _coloured(codes: IntArray) -> list[str]:
    """Texts of colour and shape codes (n, 2, 2)."""
    colours, shapes = FAMILIES[COLOUR].words, FAMILIES[SHAPE].words
    return [" and ".join(f"{_article(colours[c])} {shapes[s]}" for c, s in objects) for objects in codes.tolist()]


def _object(codes: IntArray) -> str:
    return _article(" ".join(FAMILIES[family].words[code] for family, code in enumerate(codes)))


def _article(text: str) -> str:
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def _listed(texts: list[str]) -> str:
    return " and ".join([*([", ".join(texts[:-1])] if len(texts) > 1 else []), texts[-1]])


def can_be_bound(scenes: Scenes) -> BoolArray:
    """(n,) whether pictures have two objects that differ in colour and shape."""
    first, second = scenes.objects[:, 0], scenes.objects[:, 1]
    differ = (first[:, COLOUR] != second[:, COLOUR]) & (first[:, SHAPE] != second[:, SHAPE])
    result: BoolArray = differ & (counts(scenes) == 2)
    return result


def nearer(images: FloatArray, right: FloatArray, wrong: FloatArray) -> float:
    """The share of pictures that are nearer to the right text than to the wrong one; all (n, dim) unit vectors."""
    return float(((images * right).sum(axis=1) > (images * wrong).sum(axis=1)).mean())


def right_of_two(images: FloatArray, words: FloatArray, own: IntArray, rng: np.random.Generator) -> float:
    """The share of pictures that are nearer to their word of a family than to a random other one.

    Args:
        images: (n, dim) embeddings of pictures with one object.
        words: (words, dim) embeddings of the family's `prompts`.
        own: (n,) the code that is true of each picture.
        rng: chooses the other words.
    """
    other = (own + rng.integers(1, len(words), size=len(own))) % len(words)
    return nearer(images, words[own], words[other])
