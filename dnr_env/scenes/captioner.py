"""The captioner of `scenes`: it sees what a network sees, misses objects, leaves things out and gets some wrong."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

from dnr_env.scenes.networks import Network
from dnr_env.scenes.outputs import PAIR_SLICES
from dnr_env.shapes.captions import caption
from dnr_env.shapes.lexicon import BACKGROUND, COLOUR, FAMILIES, FAMILY_SLICES, SHAPE, SIZE, TEXTURE
from dnr_env.types import FloatArray, ImageArray, Images

SEES = "plain"
"""The shipped network that recognises, whichever network is studied."""
NOTICED = (0.2, 0.65, 0.35, 0.85, 0.35)
"""The probability that size, colour, texture, shape and background of an object that is described are mentioned."""
MISTAKEN = (0.1, 0.04, 0.08, 0.05, 0.04)
"""The probability that the word is a random one of the family."""
SECOND = 0.5
"""The probability that a second object is described, if the network is sure enough of it."""
SURE = 0.2
"""The least probability of colour and shape together that is sure enough."""


class SceneCaptioner:
    """Describes one or two objects, the one that a network is surest of first.

    Args:
        network: recognises. It is the same one whichever network is studied.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.fingerprint = f"scenes-captioner-2 {network.fingerprint}"

    def caption(self, images: Images) -> list[str]:
        """Caption each image, as in "a red star on grass and a dotted ring". A caption depends only on its image."""
        probabilities = self.network.read(images)[1]
        return [_caption(row, image) for row, image in zip(probabilities, images, strict=True)]


def _caption(probabilities: FloatArray, image: ImageArray) -> str:
    rng = np.random.default_rng(zlib.crc32(image.tobytes()))
    first, second = seen(probabilities)
    text = caption(first.codes, rng, NOTICED, MISTAKEN)
    if rng.random() < SECOND and second.sure >= SURE:
        text += f" and {caption(second.codes, rng, (*NOTICED[:BACKGROUND], 0.0), MISTAKEN)}"
    return text


class Seen(NamedTuple):
    """An object that a network sees."""

    codes: list[int]
    """Of its size, colour, texture and shape, and of the background."""
    sure: float
    """The probability of its colour and shape together."""


def seen(probabilities: FloatArray) -> tuple[Seen, Seen]:
    """The two surest objects, which differ in colour and shape.

    Colour and shape are seen together, then the texture that goes with both; size and background by themselves.

    Args:
        probabilities: (outputs,) what the network says of one picture.
    """
    pairs = {
        (one, other): probabilities[part].reshape(len(FAMILIES[one].words), len(FAMILIES[other].words))
        for (one, other), part in PAIR_SLICES.items()
    }
    coloured = pairs[COLOUR, SHAPE].copy()
    size, background = (int(probabilities[FAMILY_SLICES[family]].argmax()) for family in (SIZE, BACKGROUND))
    found = []
    for _ in range(2):
        colour, shape = (int(code) for code in np.unravel_index(coloured.argmax(), coloured.shape))
        texture = int((pairs[COLOUR, TEXTURE][colour] * pairs[TEXTURE, SHAPE][:, shape]).argmax())
        codes = [size, colour, texture, shape, background]
        found.append(Seen(codes, float(coloured[colour, shape])))
        coloured[colour], coloured[:, shape] = -1, -1
    return found[0], found[1]
