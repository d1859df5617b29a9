"""The Shapes renderer. It draws a 64 x 64 picture of a concept and a seed.

Jitter, and everything that a concept leaves open, depend only on the seed. The images of two concepts with the same
seed therefore differ only in what the concepts name (common random numbers).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import numpy as np

from dnr_env.seeds import Purpose
from dnr_env.shapes import lexicon
from dnr_env.shapes.lexicon import BACKGROUND, COLOUR, FAMILIES, FAMILY_SLICES, OPEN, SHAPE, SIZE, TEXTURE
from dnr_env.shapes.parse import values_of
from dnr_env.types import FloatArray, ImageArray, IntArray

SIDE = 64
_CHUNK = 32  # images drawn together, so few that their planes fit into the processor's cache

_RGB = {
    "red": (0.86, 0.10, 0.12), "orange": (0.96, 0.52, 0.07), "yellow": (0.95, 0.88, 0.14),
    "green": (0.10, 0.58, 0.16), "cyan": (0.18, 0.86, 0.88), "blue": (0.11, 0.22, 0.84),
    "purple": (0.50, 0.13, 0.66), "pink": (0.98, 0.55, 0.76), "brown": (0.42, 0.24, 0.10),
    "white": (0.97, 0.97, 0.97),
}  # fmt: skip
_RADIUS = {"tiny": 0.25, "small": 0.38, "large": 0.56, "huge": 0.80}
_PALETTE = np.array([_RGB[word] for word in FAMILIES[COLOUR].words], np.float32)
_RADII = np.array([_RADIUS[word] for word in FAMILIES[SIZE].words], np.float32)

_axis = ((np.arange(SIDE) + 0.5) / SIDE * 2 - 1).astype(np.float32)
_X, _Y = np.broadcast_to(_axis, (SIDE, SIDE)), np.broadcast_to(_axis[:, None], (SIDE, SIDE))
_NOISE = np.random.default_rng(0).random((4 * SIDE, 4 * SIDE), dtype=np.float32)

_N_FAMILIES = len(FAMILIES)
# A seed's uniforms have one column for each family, followed by these.
_SHIFT_X, _SHIFT_Y, _SCALE, _ANGLE, _HUE, _LIGHT, _PHASE, _NOISE_X, _NOISE_Y, _SLIP, _OTHER = (
    _N_FAMILIES + i for i in (0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 11 + _N_FAMILIES)
)
_UNIFORMS = _OTHER + _N_FAMILIES


@lru_cache(maxsize=100_000)
def _uniforms(seed: int) -> FloatArray:
    return np.random.Generator(np.random.Philox(key=seed)).random(_UNIFORMS)


@cache
def _choices(family: int, value: int, wrong: bool = False) -> IntArray:
    """The renderer's codes that a value of a family allows; with `wrong`, those that it does not allow."""
    words = FAMILY_SLICES[family]
    if value == OPEN:
        return np.arange(words.stop - words.start)
    return np.flatnonzero(lexicon.MEMBERS[value, words] != wrong)


class Renderer:
    """The generator of the `shapes` stack.

    Args:
        infidelity: the probability that another value is drawn of an attribute that the concept names.
        paired: whether a seed gives every concept the same jitter, and the same attributes where they are left open.
    """

    keeps_images = False  # drawing a picture again is faster than reading it back

    def __init__(self, infidelity: float = 0.0, paired: bool = True) -> None:
        self.infidelity = infidelity
        self.paired = paired
        written = repr(float(infidelity)).removesuffix(".0")  # every digit, as it changes the pictures
        self.fingerprint = f"shapes-renderer-2 infidelity={written}{'' if paired else ' unpaired'}"

    def generate(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        """Draw image `seeds[i]` of `concepts[i]`: (n, 64, 64, 3) uint8."""
        return draw(*self.resolve(concepts, seeds))

    def resolve(self, concepts: Sequence[str], seeds: Sequence[int]) -> tuple[IntArray, FloatArray]:
        """Choose the attributes to draw, as codes (n, families), and the seeds' uniforms (n, u)."""
        if not self.paired:
            seeds = [_own_seed(concept, int(seed)) for concept, seed in zip(concepts, seeds, strict=True)]
        uniforms = np.stack([_uniforms(int(seed)) for seed in seeds])
        codes = np.empty((len(uniforms), _N_FAMILIES), np.intp)
        for concept, u, row in zip(concepts, uniforms, codes, strict=True):
            for family, value in enumerate(values_of(concept)):
                slips = value != OPEN and u[_SLIP + family] < self.infidelity
                choices = _choices(family, value, wrong=slips)
                row[family] = choices[int(u[_OTHER + family if slips else family] * len(choices))]
        return codes, uniforms


def _own_seed(concept: str, seed: int) -> int:
    """Derive a seed of the same purpose that differs between concepts."""
    block = seed - seed % Purpose.REWARD
    digest = hashlib.sha256(f"{concept} {seed}".encode()).digest()
    return block + int.from_bytes(digest[:8], "big") % Purpose.REWARD


def draw(codes: IntArray, uniforms: FloatArray) -> ImageArray:
    """Draw pictures from attribute codes (n, families) and uniforms (n, u): (n, 64, 64, 3) uint8."""
    images = np.empty((len(codes), SIDE, SIDE, 3), np.uint8)
    for start in range(0, len(codes), _CHUNK):
        part = slice(start, start + _CHUNK)
        images[part] = _draw_chunk(codes[part], uniforms[part].astype(np.float32))
    return images


def _column(values: FloatArray) -> FloatArray:
    return np.asarray(values, np.float32)[:, None, None]


def _draw_chunk(codes: IntArray, u: FloatArray) -> ImageArray:
    radius = _RADII[codes[:, SIZE]] * (0.93 + 0.14 * u[:, _SCALE])
    room = np.maximum(0.0, 0.9 - radius)
    angle = (u[:, _ANGLE] - 0.5) * 0.6
    cos, sin = _column(np.cos(angle) / radius), _column(np.sin(angle) / radius)
    dx = _X - _column((2 * u[:, _SHIFT_X] - 1) * room)
    dy = _Y - _column((2 * u[:, _SHIFT_Y] - 1) * room)
    x, y = cos * dx + sin * dy, cos * dy - sin * dx

    inside = _by_code(_SHAPES, codes[:, SHAPE], x, y)
    inside *= _column(radius * (SIDE / 2))
    np.clip(inside + np.float32(0.5), 0, 1, out=inside)
    # Texture moves with the object but does not scale with it: a huge object has more stripes, not broader ones.
    scale = _column(radius * 4.5)
    pattern = _by_code(_TEXTURES, codes[:, TEXTURE], x * scale, y * scale, u)

    rgb = _PALETTE[codes[:, COLOUR]] + (u[:, _HUE : _HUE + 3] - 0.5) * 0.10
    second = np.where(u[:, _PHASE, None] < 0.5, rgb * 0.35, 1 - (1 - rgb) * 0.35)
    second = np.where(rgb.mean(axis=1, keepdims=True) > 0.75, rgb * 0.35, second)
    images = _background(codes[:, BACKGROUND], u)
    light = _column(255 * (0.85 + 0.15 * u[:, _LIGHT]))
    out = np.empty((len(codes), SIDE, SIDE, 3), np.uint8)
    for channel in range(3):
        ink = _column(rgb[:, channel]) + pattern * _column(second[:, channel] - rgb[:, channel])
        plane = images[channel]
        plane += inside * (ink - plane)
        plane *= light
        out[..., channel] = np.clip(plane, 0, 255, out=plane)
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


# The distance to the outline in units of the object's radius, positive inside.
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


def _speckle(x: FloatArray, y: FloatArray, u: FloatArray) -> FloatArray:
    return _unit((_noise(u) - np.float32(0.6)) * np.float32(5))


_PI = np.float32(np.pi)
# The share of the second colour, from 0 to 1. x and y are in units of a fixed length.
_TEXTURES: dict[str, Callable[[FloatArray, FloatArray, FloatArray], FloatArray]] = {
    "solid": lambda x, y, u: np.zeros(x.shape, np.float32),
    "shaded": lambda x, y, u: np.clip(np.float32(0.5) + y * np.float32(0.35) / _column(u[:, _PHASE] + 0.7), 0, 1),
    "striped": lambda x, y, u: _stripes(x * np.float32(2.6 * np.pi)),
    "wavy": lambda x, y, u: _stripes(
        y * np.float32(2.4 * np.pi) + np.float32(1.6) * np.sin(x * np.float32(2.0 * np.pi))
    ),
    "checkered": lambda x, y, u: _checks(x, y),
    "dotted": lambda x, y, u: np.clip(
        np.float32(2.5) * (np.cos(x * np.float32(2.2) * _PI) + np.cos(y * np.float32(2.2) * _PI) - np.float32(0.75)),
        0,
        1,
    ),
    "speckled": _speckle,
    "hatched": lambda x, y, u: np.maximum(
        np.clip(np.float32(4) * np.sin((x + y) * np.float32(2.6) * _PI) - np.float32(2.2), 0, 1),
        np.clip(np.float32(4) * np.sin((x - y) * np.float32(2.6) * _PI) - np.float32(2.2), 0, 1),
    ),
}


def _checks(x: FloatArray, y: FloatArray) -> FloatArray:
    product = np.sin(x * np.float32(1.6) * _PI) * np.sin(y * np.float32(1.6) * _PI)
    return _unit(np.float32(4) * product + np.float32(0.5))


def _noise(u: FloatArray) -> FloatArray:
    """(n, 64, 64) windows of one noise plane, each at the place that its seed decides."""
    span = len(_NOISE) - SIDE
    left, top = (u[:, _NOISE_X] * span).astype(int), (u[:, _NOISE_Y] * span).astype(int)
    return np.stack([_NOISE[t : t + SIDE, s : s + SIDE] for s, t in zip(left, top, strict=True)])


_Planes = tuple[FloatArray | float, FloatArray | float, FloatArray | float]


def _bricks(noise: FloatArray, phase: FloatArray) -> _Planes:
    course = (_Y + phase) * np.float32(4)
    row = np.floor(course)
    joint = np.minimum(course - row, np.abs(np.mod(_X * np.float32(2) + row * np.float32(0.5), 1) * np.float32(2)))
    mortar = np.clip((np.float32(0.22) - joint) * np.float32(12), 0, 1)
    shade = np.float32(0.10) * noise
    return 0.52 + 0.2 * mortar + shade, 0.24 + 0.44 * mortar + shade, 0.20 + 0.45 * mortar + shade


def _water(noise: FloatArray, phase: FloatArray) -> _Planes:
    wave = np.sin((_Y + phase) * np.float32(22) + np.float32(1.5) * np.sin(_X * np.float32(5) + phase * np.float32(9)))
    return 0.05 + 0.05 * wave, 0.30 + 0.10 * wave, 0.52 + 0.12 * wave


_BACKGROUNDS: dict[str, Callable[[FloatArray, FloatArray], _Planes]] = {
    "black": lambda noise, phase: (0.03 + 0.04 * phase, 0.03 + 0.04 * phase, 0.03 + 0.04 * phase),
    "grey": lambda noise, phase: (0.45 + 0.10 * phase, 0.45 + 0.10 * phase, 0.45 + 0.10 * phase),
    "snow": lambda noise, phase: (0.88 + 0.06 * noise, 0.91 + 0.06 * noise, 0.95 + 0.04 * noise),
    "sky": lambda noise, phase: (0.42 + 0.22 * _Y, 0.66 + 0.14 * _Y, 0.93 + 0.05 * phase),
    "grass": lambda noise, phase: (0.14 + 0.16 * noise, 0.34 + 0.30 * noise, 0.08 + 0.10 * noise),
    "sand": lambda noise, phase: (0.78 + 0.14 * noise, 0.66 + 0.14 * noise, 0.44 + 0.14 * noise),
    "brick": _bricks,
    "water": _water,
}


def _background(codes: IntArray, u: FloatArray) -> FloatArray:
    """(3, n, 64, 64) planes."""
    out = np.empty((3, len(codes), SIDE, SIDE), np.float32)
    for code, function in enumerate(_BACKGROUNDS.values()):
        rows = np.flatnonzero(codes == code)
        if len(rows):
            for channel, plane in enumerate(function(_noise(u[rows]), _column(u[rows, _PHASE]))):
                out[channel, rows] = plane
    return out
