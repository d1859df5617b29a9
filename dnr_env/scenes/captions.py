"""Captions of pictures whose codes are known, in the words of the world: what a CLIP is trained on."""

from __future__ import annotations

import numpy as np

from dnr_env.scenes.render import ATTRIBUTES, Scenes
from dnr_env.shapes.lexicon import BACKGROUND, FAMILIES, FAMILY_SLICES, MEMBERS, OPEN, SHAPE, SIZE, VALUES, text_of
from dnr_env.types import IntArray

_HYPERNYM = 0.3
"""How often a hypernym ("warm") stands for a word that has one."""
MENTIONED = (0.15, 0.5, 0.4, 0.9)
"""How often an object's size, colour, texture and shape are mentioned, as people rarely say how large a thing is."""
_SCENE = 0.2
"""How often the background is mentioned."""


def _above(family: int, code: int) -> list[int]:
    """The hypernyms of a word, as values."""
    word = FAMILY_SLICES[family].start + code
    return [
        value
        for value, (own, name) in enumerate(VALUES)
        if own == family and MEMBERS[value, word] and name in FAMILIES[family].hypernyms
    ]


_VALUE = {word: value for value, (_, word) in enumerate(VALUES)}
_HYPERNYMS = [[_above(f, code) for code in range(len(family.words))] for f, family in enumerate(FAMILIES)]


def captions(scenes: Scenes, rng: np.random.Generator) -> list[str]:
    """Write one caption for each picture, such as "a small red star and a dotted thing on grass".

    One or two of the objects are mentioned, in any order, each with a random part of its attributes.
    """
    pictures = zip(scenes.objects, scenes.backgrounds.tolist(), strict=True)
    return [_caption(objects, background, rng) for objects, background in pictures]


def _caption(objects: IntArray, background: int, rng: np.random.Generator) -> str:
    there = rng.permutation(np.flatnonzero(objects[:, SIZE] >= 0))
    mentioned = objects[there[: rng.integers(1, 3)]]
    text = " and ".join(_noun_phrase(codes, rng) for codes in mentioned.tolist())
    if rng.random() < _SCENE:
        text += f" on {VALUES[_value(BACKGROUND, background, rng)][1]}"
    return text


def _noun_phrase(codes: list[int], rng: np.random.Generator) -> str:
    """Describe an object by a random part of its attributes, or by its shape."""
    values = [OPEN] * len(FAMILIES)
    mentioned = rng.random(len(ATTRIBUTES)) < MENTIONED
    for family in ATTRIBUTES:
        if mentioned[family] or (family == SHAPE and not mentioned.any()):
            values[family] = _value(family, codes[family], rng)
    text = text_of(tuple(values))
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def _value(family: int, code: int, rng: np.random.Generator) -> int:
    above = _HYPERNYMS[family][code]
    if above and rng.random() < _HYPERNYM:
        return above[rng.integers(len(above))]
    return _VALUE[FAMILIES[family].words[code]]
