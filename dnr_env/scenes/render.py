"""The renderer of `scenes`. It draws a 64 x 64 picture, with one to three objects, of a noun phrase and a seed.

Object 0 is what the phrase describes. The seed decides how many others there are, everything about them, jitter, what
the phrase leaves open, and what no word names: how opaque an object and how strong and fine its texture is, the light,
and the blotches behind the objects. The pictures of two phrases with the same seed therefore differ only in what the
phrases name (common random numbers). A place depends on the seed and on the object's own size alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dnr_env.scenes.surroundings import UNNAMED, blotch, light
from dnr_env.scenes.tail import pick
from dnr_env.shapes.lexicon import BACKGROUND, COLOUR, FAMILIES, OPEN, SHAPE, SIZE, TEXTURE
from dnr_env.shapes.paint import SIDE, background, column, inks, outline, texture
from dnr_env.shapes.parse import values_of
from dnr_env.types import FloatArray, ImageArray, IntArray

OBJECTS = 3
"""The most objects of a picture."""
ATTRIBUTES = (SIZE, COLOUR, TEXTURE, SHAPE)
"""The families that belong to an object."""
_CHUNK = 64  # pictures drawn together

_RADIUS = {"tiny": 6.0, "small": 8.3, "large": 11.4, "huge": 15.6}  # pixels
_RADII = np.array([_RADIUS[word] for word in FAMILIES[SIZE].words], np.float32)
_JITTER = 0.04  # of a radius
_REACH = 1.14  # of a radius: the farthest point of any shape, a triangle's tip
_COARSEST, _FINEST = 0.8, 1.3  # of a texture's usual fineness
_FAINTEST = 0.35  # of a texture's usual contrast
_THINNEST = 0.6  # the least opacity of an object, as in mist
_WINDOWS = 2 * np.ceil(_RADII * (1 + _JITTER) * _REACH + 1).astype(int)

# A seed's uniforms: of the picture, of each object, and what an unfaithful drawing of each named family shows.
_COUNT, _SCENE, _TURN, _SCENE_PHASE, _SCENE_GRAIN = 0, 1, 2, 3, 4
_FIRST_OBJECT, _PER_OBJECT = 6, 17
# After one column for each attribute.
_ANGLE, _DEPTH, _SCALE, _TILT, _PHASE, _GRAIN, _HUE, _CONTRAST, _FINENESS, _OPACITY = 4, 5, 6, 7, 8, 9, 11, 14, 15, 16
_SLIP = _FIRST_OBJECT + OBJECTS * _PER_OBJECT
_OTHER = _SLIP + len(FAMILIES)
_UNNAMED = _OTHER + len(FAMILIES)
_UNIFORMS = _UNNAMED + UNNAMED


class Scenes(NamedTuple):
    """What n pictures show, as the codes of `shapes`."""

    objects: IntArray
    """(n, 3, 4) size, colour, texture and shape of each object, as codes within the family; -1 where there is none."""
    backgrounds: IntArray
    """(n,)"""
    uniforms: FloatArray
    """(n, u) the seeds' random numbers."""


@lru_cache(maxsize=100_000)
def _uniforms(seed: int) -> FloatArray:
    return np.random.Generator(np.random.Philox(key=seed)).random(_UNIFORMS)


class SceneRenderer:
    """The generator of the `scenes` stack.

    Args:
        infidelity: the probability that another value is drawn of a size, a colour, a texture, a shape and a
            background that the phrase names. Objects that the phrase does not describe are never concerned.
    """

    keeps_images = False  # drawing a picture again is faster than reading it back

    def __init__(self, infidelity: Sequence[float] = (0.0, 0.0, 0.0, 0.0, 0.0)) -> None:
        self.infidelity = tuple(float(probability) for probability in infidelity)
        written = "/".join(f"{probability!r}".removesuffix(".0") for probability in self.infidelity)
        self.fingerprint = f"scenes-renderer-2 infidelity={written}"

    def generate(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        """Draw image `seeds[i]` of the noun phrase `concepts[i]`: (n, 64, 64, 3) uint8."""
        return draw_scenes(self.resolve(concepts, seeds))

    def resolve(self, concepts: Sequence[str], seeds: Sequence[int]) -> Scenes:
        """Choose what to draw."""
        values = np.array([values_of(concept) for concept in concepts])
        u = np.stack([_uniforms(int(seed)) for seed in seeds])
        objects = np.full((len(u), OBJECTS, len(ATTRIBUTES)), -1, np.intp)
        for place in range(OBJECTS):
            there = _count(u) > place
            for family in ATTRIBUTES:
                chance = u[there, _FIRST_OBJECT + place * _PER_OBJECT + family]
                objects[there, place, family] = pick(family, OPEN, chance)
        for family in ATTRIBUTES:
            objects[:, 0, family] = self._described(family, values, u, _FIRST_OBJECT + family)
        return Scenes(objects, self._described(BACKGROUND, values, u, _SCENE), u)

    def _described(self, family: int, values: IntArray, u: FloatArray, chance: int) -> IntArray:
        slips = (values[:, family] != OPEN) & (u[:, _SLIP + family] < self.infidelity[family])
        faithful = pick(family, values[:, family], u[:, chance])
        return np.where(slips, pick(family, values[:, family], u[:, _OTHER + family], wrong=True), faithful)


def _count(uniforms: FloatArray) -> IntArray:
    """(n,) the number of objects."""
    return 1 + (uniforms[:, _COUNT] * OBJECTS).astype(int)


def draw_scenes(scenes: Scenes) -> ImageArray:
    """Draw pictures (n, 64, 64, 3) uint8."""
    images = np.empty((len(scenes.objects), SIDE, SIDE, 3), np.uint8)
    for start in range(0, len(images), _CHUNK):
        part = slice(start, start + _CHUNK)
        images[part] = _draw_chunk(scenes.objects[part], scenes.backgrounds[part], scenes.uniforms[part])
    return images


def _draw_chunk(objects: IntArray, backgrounds: IntArray, uniforms: FloatArray) -> ImageArray:
    u = uniforms.astype(np.float32)
    planes = background(backgrounds, u[:, _SCENE_PHASE], u[:, _SCENE_GRAIN : _SCENE_GRAIN + 2])
    blotch(planes, u[:, _UNNAMED:])
    count = _count(uniforms)
    for place in reversed(range(OBJECTS)):  # what the phrase describes is drawn last, over the others
        own = u[:, _FIRST_OBJECT + place * _PER_OBJECT :][:, :_PER_OBJECT]
        turn = u[:, _TURN] + np.float32(place) / count
        for size in range(len(_RADII)):
            rows = np.flatnonzero(objects[:, place, SIZE] == size)
            if len(rows):
                x, y, radius = _place(size, own[rows], turn[rows], alone=count[rows] == 1)
                _paint(planes, rows, objects[rows, place], own[rows], x, y, radius)
    light(planes, u[:, _UNNAMED:])
    planes *= 255
    np.clip(planes, 0, 255, out=planes)
    return np.moveaxis(planes.astype(np.uint8), 0, -1)


def _place(size: int, u: FloatArray, turn: FloatArray, alone: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Decide where objects of one size are.

    Args:
        size: their code.
        u: (n, 14) their own random numbers.
        turn: (n,) the directions from the centre, of which the objects of a picture share a circle evenly.
        alone: (n,) whether an object is the only one. It may be anywhere.

    Returns:
        x and y of the centres in pixels from the middle of the picture, and the radii in pixels.
    """
    radius = _RADII[size] * (1 - _JITTER + 2 * _JITTER * u[:, _SCALE])
    angle = 2 * np.pi * (turn + 0.08 * (u[:, _ANGLE] - 0.5))
    # Large objects stay at the edges, so that others fit in; small ones may come nearer to the middle.
    inwards = np.where(alone, 1, 0.6 * (1 - _RADII[size] / _RADII.max()))
    along, across = np.cos(angle), np.sin(angle)
    reach = (SIDE / 2 - _REACH * radius) * (1 - inwards * u[:, _DEPTH]) / np.maximum(np.abs(along), np.abs(across))
    return reach * along, reach * across, radius


def _paint(
    planes: FloatArray, rows: IntArray, codes: IntArray, u: FloatArray, x: FloatArray, y: FloatArray, radius: FloatArray
) -> None:
    """Paint one object of one size into each picture `rows` of planes (3, n, 64, 64), in a window around it."""
    side = _WINDOWS[codes[0, SIZE]]
    left, top = (np.clip(np.rint(c + (SIDE - side) / 2), 0, SIDE - side).astype(int) for c in (x, y))
    pixels = np.arange(side, dtype=np.float32) + np.float32(0.5 - SIDE / 2)
    dx = (pixels + (left - x)[:, None])[:, None, :] / column(radius)
    dy = (pixels + (top - y)[:, None])[:, :, None] / column(radius)
    tilt = (u[:, _TILT] - 0.5) * 0.6
    cos, sin = column(np.cos(tilt)), column(np.sin(tilt))
    across, down = cos * dx + sin * dy, cos * dy - sin * dx

    inside = outline(codes[:, SHAPE], across, down)
    inside *= column(radius)
    np.clip(inside + np.float32(0.5), 0, 1, out=inside)
    inside *= column(_THINNEST + (1 - _THINNEST) * u[:, _OPACITY])
    # Texture does not scale with its object: a huge object has more stripes, not broader ones.
    fineness = np.float32(5.5 / (SIDE / 2)) * (_COARSEST + (_FINEST - _COARSEST) * u[:, _FINENESS])
    scale = column(radius * fineness)
    phase, grain = u[:, _PHASE], u[:, _GRAIN : _GRAIN + 2]
    pattern = texture(codes[:, TEXTURE], across * scale, down * scale, phase, grain)
    first, second = inks(codes[:, COLOUR], u[:, _HUE : _HUE + 3], phase)
    second = first + (second - first) * (_FAINTEST + (1 - _FAINTEST) * u[:, _CONTRAST, None])
    windows = np.lib.stride_tricks.sliding_window_view(planes, (side, side), axis=(2, 3), writeable=True)
    for channel in range(3):
        ink = column(first[:, channel]) + pattern * column(second[:, channel] - first[:, channel])
        below = windows[channel, rows, top, left]
        windows[channel, rows, top, left] = below + inside * (ink - below)
