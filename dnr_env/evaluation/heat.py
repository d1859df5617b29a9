"""Heat maps: where on an image a neuron is active."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from dnr_env.propose.crops import Heat
from dnr_env.types import BoolArray, FloatArray, ImageArray

_LEAST = 160  # pixels of an overlay's longer side, so that the outline of a small image's map can be seen
_COLD = np.array([30.0, 34.0, 48.0])
_INNER, _OUTER = np.array([255, 225, 0], np.uint8), np.array([20, 20, 20], np.uint8)
"""The two sides of the outline, so that it can be seen on bright and on dark."""


def span(maps: Sequence[Heat]) -> tuple[float, float]:
    """The activations that are shown as cold and as hot: those of the weakest and of the strongest position.

    Cold is 0 for a neuron that can be negative, so that a position that inhibits is not shown as half active.
    """
    values = [part.values[np.isfinite(part.values)] for part in maps]
    low = min((float(part.min()) for part in values if part.size), default=0.0)
    high = max((float(part.max()) for part in values if part.size), default=0.0)
    return (0.0 if low < 0 < high else low), high


def overlay(image: ImageArray, heat: Heat, low: float, high: float) -> ImageArray:
    """Show an image (height, width, 3) where a neuron is active, and darken it where it is not.

    Lightness and an outline carry the map, so that it does not depend on telling colours apart. The outline is at half
    of the way from `low` to `high`. What the network does not see of the image counts as inactive.

    Args:
        image: the picture.
        heat: the neuron's map on it.
        low: the activation that is shown as inactive.
        high: the activation that is shown as fully active.
    """
    scale = max(1.0, _LEAST / max(image.shape[:2]))
    height, width = (round(side * scale) for side in image.shape[:2])
    large = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    warmth = _warmth(heat, image.shape[:2], low, high)
    warmth = np.clip(_resized(warmth, height, width), 0.0, 1.0)
    grey = large.mean(axis=2, keepdims=True)
    cold = 0.25 * large + 0.2 * grey + 0.55 * _COLD
    shown = np.rint(cold + warmth[..., None] * (large - cold)).astype(np.uint8)
    hot = warmth >= 0.5
    shown[_border(hot)], shown[_border(~hot)] = _INNER, _OUTER
    result: ImageArray = shown
    return result


def _warmth(heat: Heat, size: tuple[int, int], low: float, high: float) -> FloatArray:
    """(height, width) from 0, inactive, to 1, at the pixels of the image."""
    top, left, bottom, right = heat.view
    scaled = (np.nan_to_num(heat.values.astype(np.float64), nan=low) - low) / ((high - low) or 1.0)
    seen = _resized(np.clip(scaled, 0.0, 1.0), bottom - top, right - left)
    out = np.zeros(size)
    inside = slice(max(top, 0), min(bottom, size[0])), slice(max(left, 0), min(right, size[1]))
    out[inside] = seen[inside[0].start - top : inside[0].stop - top, inside[1].start - left : inside[1].stop - left]
    return out


def _resized(values: FloatArray, height: int, width: int) -> FloatArray:
    plane = Image.fromarray(values.astype(np.float32))
    return np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR), np.float64)


def _border(inside: BoolArray) -> BoolArray:
    """The pixels of a region that have a neighbour outside it."""
    padded = np.pad(inside, 1, mode="edge")
    around = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: BoolArray = inside & ~around
    return edge
