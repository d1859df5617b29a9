"""The Shapes renderer. It draws a 64 x 64 picture of a concept and a seed.

Jitter, and everything that a concept leaves open, depend only on the seed. The images of two concepts with the same
seed therefore differ only in what the concepts name (common random numbers).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np

from dnr_env.seeds import Purpose
from dnr_env.shapes import lexicon
from dnr_env.shapes.lexicon import BACKGROUND, COLOUR, FAMILIES, FAMILY_SLICES, OPEN, SHAPE, SIZE, TEXTURE
from dnr_env.shapes.paint import SIDE, X, Y, background, column, inks, outline, texture
from dnr_env.shapes.parse import values_of
from dnr_env.types import FloatArray, ImageArray, IntArray

_CHUNK = 32  # images drawn together, so few that their planes fit into the processor's cache

_RADIUS = {"tiny": 0.25, "small": 0.38, "large": 0.56, "huge": 0.80}
_RADII = np.array([_RADIUS[word] for word in FAMILIES[SIZE].words], np.float32)

_N_FAMILIES = len(FAMILIES)
# A seed's uniforms have one column for each family, followed by these.
_SHIFT_X, _SHIFT_Y, _SCALE, _ANGLE, _HUE, _LIGHT, _PHASE, _GRAIN, _SLIP, _OTHER = (
    _N_FAMILIES + i for i in (0, 1, 2, 3, 4, 7, 8, 9, 11, 11 + _N_FAMILIES)
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


def _draw_chunk(codes: IntArray, u: FloatArray) -> ImageArray:
    radius = _RADII[codes[:, SIZE]] * (0.93 + 0.14 * u[:, _SCALE])
    room = np.maximum(0.0, 0.9 - radius)
    angle = (u[:, _ANGLE] - 0.5) * 0.6
    cos, sin = column(np.cos(angle) / radius), column(np.sin(angle) / radius)
    dx = X - column((2 * u[:, _SHIFT_X] - 1) * room)
    dy = Y - column((2 * u[:, _SHIFT_Y] - 1) * room)
    x, y = cos * dx + sin * dy, cos * dy - sin * dx

    inside = outline(codes[:, SHAPE], x, y)
    inside *= column(radius * (SIDE / 2))
    np.clip(inside + np.float32(0.5), 0, 1, out=inside)
    # Texture moves with the object but does not scale with it: a huge object has more stripes, not broader ones.
    scale = column(radius * 4.5)
    phase, grain = u[:, _PHASE], u[:, _GRAIN : _GRAIN + 2]
    pattern = texture(codes[:, TEXTURE], x * scale, y * scale, phase, grain)

    rgb, second = inks(codes[:, COLOUR], u[:, _HUE : _HUE + 3], phase)
    images = background(codes[:, BACKGROUND], phase, grain)
    light = column(255 * (0.85 + 0.15 * u[:, _LIGHT]))
    out = np.empty((len(codes), SIDE, SIDE, 3), np.uint8)
    for channel in range(3):
        ink = column(rgb[:, channel]) + pattern * column(second[:, channel] - rgb[:, channel])
        plane = images[channel]
        plane += inside * (ink - plane)
        plane *= light
        out[..., channel] = np.clip(plane, 0, 255, out=plane)
    return out
