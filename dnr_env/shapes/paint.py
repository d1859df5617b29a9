"""What a Shapes picture is painted with: outlines, textures, inks and backgrounds, for many pictures together.

All of it is float32. Nothing here is random: what a seed decides comes as numbers from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dnr_env.shapes.lexicon import COLOUR, FAMILIES
from dnr_env.types import FloatArray, IntArray

SIDE = 64
"""The rows and columns of a picture."""

_RGB = {
    "red": (0.86, 0.10, 0.12), "orange": (0.96, 0.52, 0.07), "yellow": (0.95, 0.88, 0.14),
    "green": (0.10, 0.58, 0.16), "cyan": (0.18, 0.86, 0.88), "blue": (0.11, 0.22, 0.84),
    "purple": (0.50, 0.13, 0.66), "pink": (0.98, 0.55, 0.76), "brown": (0.42, 0.24, 0.10),
    "white": (0.97, 0.97, 0.97),
}  # fmt: skip
_PALETTE = np.array([_RGB[word] for word in FAMILIES[COLOUR].words], np.float32)

_axis = ((np.arange(SIDE) + 0.5) / SIDE * 2 - 1).astype(np.float32)
X, Y = np.broadcast_to(_axis, (SIDE, SIDE)), np.broadcast_to(_axis[:, None], (SIDE, SIDE))
"""The pixels' centres, from -1 to 1."""
_NOISE = np.random.default_rng(0).random((4 * SIDE, 4 * SIDE), dtype=np.float32)


def column(values: FloatArray) -> FloatArray:
    """Shape one number for each picture (n,) as (n, 1, 1) float32."""
    return np.asarray(values, np.float32)[:, None, None]


def outline(codes: IntArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """The distance (n, h, w) to the outline of each shape, in units of its radius, positive inside.

    Args:
        codes: (n,) the shapes.
        x: (n, h, w) coordinates in units of the object's radius, as y.
        y: see x.
    """
    return _by_code(_SHAPES, codes, x, y)


def texture(codes: IntArray, x: FloatArray, y: FloatArray, phase: FloatArray, grain: FloatArray) -> FloatArray:
    """The share (n, h, w) of the second ink, from 0 to 1.

    Args:
        codes: (n,) the textures.
        x: (n, h, w) coordinates in units of a fixed length, as y.
        y: see x.
        phase: (n,) a random number of each object.
        grain: (n, 2) where in the noise an object is.
    """
    return _by_code(_TEXTURES, codes, x, y, column(phase), grain)


def inks(codes: IntArray, hue: FloatArray, phase: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both inks (n, 3) of each object, from 0 to 1: its colour, and a darker or paler one.

    Args:
        codes: (n,) the colours.
        hue: (n, 3) random numbers: deviations from the named colour.
        phase: (n,) a random number: below 0.5, the second ink is darker.
    """
    rgb = _PALETTE[codes] + (hue - 0.5) * 0.10
    second = np.where(phase[:, None] < 0.5, rgb * 0.35, 1 - (1 - rgb) * 0.35)
    return rgb, np.where(rgb.mean(axis=1, keepdims=True) > 0.75, rgb * 0.35, second)


def background(codes: IntArray, phase: FloatArray, grain: FloatArray) -> FloatArray:
    """Paint backgrounds as planes (3, n, 64, 64) of red, green and blue from 0 to 1.

    Args:
        codes: (n,) the backgrounds.
        phase: (n,) a random number of each picture.
        grain: (n, 2) where in the noise a picture is.
    """
    out = np.empty((3, len(codes), SIDE, SIDE), np.float32)
    for code, function in enumerate(_BACKGROUNDS.values()):
        rows = np.flatnonzero(codes == code)
        if len(rows):
            for channel, plane in enumerate(function(_noise(grain[rows], SIDE), column(phase[rows]))):
                out[channel, rows] = plane
    return out


def _by_code(
    functions: dict[str, Callable[..., FloatArray]], codes: IntArray, x: FloatArray, *rest: FloatArray
) -> FloatArray:
    """Evaluate the function of each image's code, for all images of a code together."""
    out = np.empty(x.shape, np.float32)
    for code, function in enumerate(functions.values()):
        rows = np.flatnonzero(codes == code)
        if len(rows):
            out[rows] = function(x[rows], *(array[rows] for array in rest))
    return out


def _half_planes(x: FloatArray, y: FloatArray, count: int, apothem: float) -> FloatArray:
    distance = np.full(x.shape, -9.0, np.float32)
    for i in range(count):
        angle = np.pi * (2 * i / count + 0.5)
        np.maximum(distance, np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y, out=distance)
    return np.float32(apothem) - distance


def _box(x: FloatArray, y: FloatArray, width: float, height: float) -> FloatArray:
    return np.minimum(np.float32(width) - np.abs(x), np.float32(height) - np.abs(y))


def _disc(x: FloatArray, y: FloatArray, radius: float) -> FloatArray:
    return np.float32(radius) - np.sqrt(x * x + y * y)


def _star(x: FloatArray, y: FloatArray) -> FloatArray:
    # Fold the plane into one half of one of the five arms (I. Quilez, 2-D distance functions), then one edge decides.
    x, y = np.abs(x), -y
    for nx, ny in ((0.809017, -0.587785), (-0.809017, -0.587785)):
        fold = 2 * np.maximum(np.float32(nx) * x + np.float32(ny) * y, 0)
        x, y = x - fold * np.float32(nx), y - fold * np.float32(ny)
    x, y = np.abs(x), y - np.float32(1.0)
    ex, ey = np.float32(0.263), np.float32(-0.638)  # from the tip to the inner corner
    edge: FloatArray = (ey * x - ex * y) / np.float32(np.hypot(ex, ey))
    return edge


_SHAPES: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "circle": lambda x, y: _disc(x, y, 0.85),
    "oval": lambda x, y: _disc(x, y * np.float32(1.9), 1.0),
    "ring": lambda x, y: np.minimum(_disc(x, y, 0.95), -_disc(x, y, 0.52)),
    "crescent": lambda x, y: np.minimum(_disc(x, y, 0.95), -_disc(x - np.float32(0.42), y, 0.72)),
    "square": lambda x, y: _box(x, y, 0.75, 0.75),
    "bar": lambda x, y: _box(x, y, 1.0, 0.36),
    "triangle": lambda x, y: _half_planes(x, -y - np.float32(0.1), 3, 0.52),
    "hexagon": lambda x, y: _half_planes(x, y, 6, 0.80),
    "star": _star,
    "cross": lambda x, y: np.maximum(_box(x, y, 0.95, 0.29), _box(x, y, 0.29, 0.95)),
}


def _unit(values: FloatArray) -> FloatArray:
    clipped: FloatArray = np.clip(values, 0, 1)
    return clipped


def _stripes(along: FloatArray) -> FloatArray:
    return _unit(np.float32(2.5) * np.sin(along) + np.float32(0.5))


def _speckle(x: FloatArray, y: FloatArray, phase: FloatArray, grain: FloatArray) -> FloatArray:
    return _unit((_noise(grain, x.shape[1]) - np.float32(0.6)) * np.float32(5))


_PI = np.float32(np.pi)
_TEXTURES: dict[str, Callable[[FloatArray, FloatArray, FloatArray, FloatArray], FloatArray]] = {
    "solid": lambda x, y, phase, grain: np.zeros(x.shape, np.float32),
    "shaded": lambda x, y, phase, grain: np.clip(
        np.float32(0.5) + y * np.float32(0.35) / (phase + np.float32(0.7)), 0, 1
    ),
    "striped": lambda x, y, phase, grain: _stripes(x * np.float32(2.6 * np.pi)),
    "wavy": lambda x, y, phase, grain: _stripes(
        y * np.float32(2.4 * np.pi) + np.float32(1.6) * np.sin(x * np.float32(2.0 * np.pi))
    ),
    "checkered": lambda x, y, phase, grain: _checks(x, y),
    "dotted": lambda x, y, phase, grain: np.clip(
        np.float32(2.5) * (np.cos(x * np.float32(2.2) * _PI) + np.cos(y * np.float32(2.2) * _PI) - np.float32(0.75)),
        0,
        1,
    ),
    "speckled": _speckle,
    "hatched": lambda x, y, phase, grain: np.maximum(
        np.clip(np.float32(4) * np.sin((x + y) * np.float32(2.6) * _PI) - np.float32(2.2), 0, 1),
        np.clip(np.float32(4) * np.sin((x - y) * np.float32(2.6) * _PI) - np.float32(2.2), 0, 1),
    ),
}


def _checks(x: FloatArray, y: FloatArray) -> FloatArray:
    product = np.sin(x * np.float32(1.6) * _PI) * np.sin(y * np.float32(1.6) * _PI)
    return _unit(np.float32(4) * product + np.float32(0.5))


def _noise(grain: FloatArray, side: int) -> FloatArray:
    """(n, side, side) windows of one noise plane, each at its place (n, 2)."""
    left, top = (grain * (len(_NOISE) - SIDE)).astype(int).T
    return np.stack([_NOISE[t : t + side, s : s + side] for s, t in zip(left, top, strict=True)])


_Planes = tuple[FloatArray | float, FloatArray | float, FloatArray | float]


def _bricks(noise: FloatArray, phase: FloatArray) -> _Planes:
    course = (Y + phase) * np.float32(4)
    row = np.floor(course)
    joint = np.minimum(course - row, np.abs(np.mod(X * np.float32(2) + row * np.float32(0.5), 1) * np.float32(2)))
    mortar = np.clip((np.float32(0.22) - joint) * np.float32(12), 0, 1)
    shade = np.float32(0.10) * noise
    return 0.52 + 0.2 * mortar + shade, 0.24 + 0.44 * mortar + shade, 0.20 + 0.45 * mortar + shade


def _water(noise: FloatArray, phase: FloatArray) -> _Planes:
    wave = np.sin((Y + phase) * np.float32(22) + np.float32(1.5) * np.sin(X * np.float32(5) + phase * np.float32(9)))
    return 0.05 + 0.05 * wave, 0.30 + 0.10 * wave, 0.52 + 0.12 * wave


_BACKGROUNDS: dict[str, Callable[[FloatArray, FloatArray], _Planes]] = {
    "black": lambda noise, phase: (0.03 + 0.04 * phase, 0.03 + 0.04 * phase, 0.03 + 0.04 * phase),
    "grey": lambda noise, phase: (0.45 + 0.10 * phase, 0.45 + 0.10 * phase, 0.45 + 0.10 * phase),
    "snow": lambda noise, phase: (0.88 + 0.06 * noise, 0.91 + 0.06 * noise, 0.95 + 0.04 * noise),
    "sky": lambda noise, phase: (0.42 + 0.22 * Y, 0.66 + 0.14 * Y, 0.93 + 0.05 * phase),
    "grass": lambda noise, phase: (0.14 + 0.16 * noise, 0.34 + 0.30 * noise, 0.08 + 0.10 * noise),
    "sand": lambda noise, phase: (0.78 + 0.14 * noise, 0.66 + 0.14 * noise, 0.44 + 0.14 * noise),
    "brick": _bricks,
    "water": _water,
}
