"""What varies in a picture of `scenes` and is named by no word: blotches behind the objects, and the light on all.

Without it, a network's channels would be sums of words (docs/explanation/scenes.md).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter

from dnr_env.shapes.paint import SIDE, X, Y, column
from dnr_env.types import FloatArray

_BLOTCHES = 3
_PER_BLOTCH = 6
_INK, _GRAIN, _OPACITY = slice(0, 3), slice(3, 5), 5  # a blotch's uniforms
_TINT, _ANGLE, _DEPTH = slice(0, 3), 3, 4  # the light's, which come before
_FIRST_BLOTCH = 5
UNNAMED = _FIRST_BLOTCH + _BLOTCHES * _PER_BLOTCH
"""The random numbers that a picture needs."""

_PLANE = 8 * SIDE
_SOFTNESS = 9.0  # pixels: the standard deviation of the filter that noise becomes blotches by
_SHARPNESS = 1.5  # of a blotch's edge: opacity per standard deviation of the noise
_OPACITIES = 0.3, 1.0
_DARKEST = 0.55  # of a channel of the light
_SHADE = 0.55  # of the light: what the dark side of a picture lacks at most


@cache
def _soft_noise() -> FloatArray:
    noise = np.random.default_rng(1).standard_normal((_PLANE, _PLANE))
    soft = gaussian_filter(noise, _SOFTNESS, mode="wrap")
    cover: FloatArray = np.clip(_SHARPNESS * soft / soft.std() + 0.5, 0, 1).astype(np.float32)
    return cover


def blotch(planes: FloatArray, u: FloatArray) -> None:
    """Paint blotches of any colour over backgrounds.

    Args:
        planes: (3, n, 64, 64) red, green and blue from 0 to 1, changed in place.
        u: (n, UNNAMED) random numbers of each picture.
    """
    low, high = _OPACITIES
    for first in range(_FIRST_BLOTCH, UNNAMED, _PER_BLOTCH):
        own = u[:, first : first + _PER_BLOTCH]
        left, top = (own[:, _GRAIN] * (_PLANE - SIDE)).astype(int).T
        cover = np.stack([_soft_noise()[t : t + SIDE, s : s + SIDE] for s, t in zip(left, top, strict=True)])
        cover *= column(low + (high - low) * own[:, _OPACITY])
        for channel, ink in zip(planes, own[:, _INK].T, strict=True):
            channel += cover * (column(ink) - channel)


def light(planes: FloatArray, u: FloatArray) -> None:
    """Light pictures: each channel by a share of its own, which is the tint, and less towards one side.

    Args:
        planes: (3, n, 64, 64) red, green and blue, changed in place.
        u: (n, UNNAMED) random numbers of each picture.
    """
    angle = 2 * np.pi * u[:, _ANGLE]
    towards = (column(np.cos(angle)) * X + column(np.sin(angle)) * Y) / np.float32(np.sqrt(2))
    shade = 1 - column(_SHADE * u[:, _DEPTH]) * (1 + towards) / 2
    for channel, tint in zip(planes, u[:, _TINT].T, strict=True):
        channel *= column(_DARKEST + (1 - _DARKEST) * tint) * shade
