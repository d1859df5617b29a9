"""What a target of `scenes` is trained to say of a picture: which words, and pairs of words of one object, it shows."""

from __future__ import annotations

import itertools

import numpy as np

from dnr_env.scenes.render import ATTRIBUTES, OBJECTS, Scenes
from dnr_env.shapes.lexicon import BACKGROUND, COLOUR, FAMILIES, FAMILY_SLICES, SHAPE, TEXTURE, WORDS
from dnr_env.types import BoolArray

PAIRS = ((COLOUR, TEXTURE), (COLOUR, SHAPE), (TEXTURE, SHAPE))
"""The families whose conjunctions in one object have outputs."""

OUTPUTS: tuple[str, ...] = (
    *WORDS,
    *(
        f"{one} & {other}"
        for first, second in PAIRS
        for one, other in itertools.product(FAMILIES[first].words, FAMILIES[second].words)
    ),
)
"""The outputs: 40 words, then 260 conjunctions."""


def _pair_slices() -> dict[tuple[int, int], slice]:
    sizes = [len(FAMILIES[first].words) * len(FAMILIES[second].words) for first, second in PAIRS]
    stops = itertools.accumulate(sizes, initial=len(WORDS))
    return {pair: slice(start, stop) for pair, (start, stop) in zip(PAIRS, itertools.pairwise(stops), strict=True)}


PAIR_SLICES: dict[tuple[int, int], slice] = _pair_slices()
"""The outputs of each pair of families: all words of the second with the first word of the first, and so on."""

KINDS: dict[str, slice] = {
    **{family.name: part for family, part in zip(FAMILIES, FAMILY_SLICES, strict=True)},
    **{f"{FAMILIES[one].name} & {FAMILIES[other].name}": part for (one, other), part in PAIR_SLICES.items()},
}
"""The outputs of each kind."""


def presence(scenes: Scenes) -> BoolArray:
    """(n, outputs) what the pictures show. A conjunction is shown if one object has both words."""
    shown = np.zeros((len(scenes.objects), len(OUTPUTS)), bool)
    pictures = np.arange(len(shown))
    shown[pictures, FAMILY_SLICES[BACKGROUND].start + scenes.backgrounds] = True
    for place in range(OBJECTS):
        rows = np.flatnonzero(scenes.objects[:, place, 0] >= 0)
        codes = scenes.objects[rows, place]
        for family in ATTRIBUTES:
            shown[rows, FAMILY_SLICES[family].start + codes[:, family]] = True
        for (first, second), part in PAIR_SLICES.items():
            shown[rows, part.start + codes[:, first] * len(FAMILIES[second].words) + codes[:, second]] = True
    return shown
