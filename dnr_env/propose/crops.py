"""Attention crops: the parts of an image where a neuron's activation map is high.

Source: Bai et al. 2025, "Describe-and-Dissect", step 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dnr_env.errors import DnRError
from dnr_env.extras import needed
from dnr_env.types import FloatArray, Images

CROPS = 4
"""The most crops of one image."""
OVERLAP = 0.5
"""A box is dropped if its intersection over union with a kept box exceeds this."""
WHOLE = 0.8
"""A box is dropped if it covers this share of the image or more, as the image itself is already an exemplar."""
MIN_SIDE = 8
MIN_SHARE = 1 / 32
"""A box is dropped if a side is below MIN_SIDE pixels or MIN_SHARE of the image's side: it is too small to name."""


class Box(NamedTuple):
    """A rectangle of pixels; bottom and right are the first ones outside."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        """The area in pixels."""
        return (self.bottom - self.top) * (self.right - self.left)

    def overlap(self, other: Box) -> float:
        """Intersection over union with another box, between 0 and 1."""
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        width = min(self.right, other.right) - max(self.left, other.left)
        both = max(height, 0) * max(width, 0)
        return both / (self.area + other.area - both)


class Heat(NamedTuple):
    """A neuron's activations over an image."""

    values: FloatArray
    """(rows, columns)."""
    view: Box
    """The part of the image that the map covers, in pixels. It may extend beyond the image, as the input was padded."""


HeatOf = Callable[[Images, str], list[Heat] | None]
"""Returns the maps of a neuron on some images; None if its layer has no positions. It may raise `Misplaced`."""


class Misplaced(DnRError):
    """The maps of a layer do not show where in the image something is."""


def otsu(values: FloatArray) -> float:
    """Find the threshold that maximises the variance between the values above it and the rest.

    The search is exact: every value is tried as a threshold. The published code first converts the map to an 8-bit
    picture, as value times 255 modulo 256. Values above 1 wrap around to black there, so that a peak of 8 is darker
    than its slope and the crop lies elsewhere.

    Args:
        values: finite numbers of any shape, at least one.

    Returns:
        One of the values; if several are best, the lowest. No value of a constant map exceeds its threshold.

    Source: Otsu 1979, "A threshold selection method from gray-level histograms".
    """
    ordered = np.sort(values, axis=None).astype(np.float64)
    count, sums = np.arange(1, ordered.size), np.cumsum(ordered - ordered.mean())[:-1]
    # With the mean moved to 0, w0 w1 (m0 - m1)² is s0² / (n0 n1), up to a constant.
    between = np.square(sums) / (count * (ordered.size - count))
    parts = ordered[:-1] < ordered[1:]  # a threshold cannot separate equal values
    return float(ordered[np.argmax(np.where(parts, between, -1.0))]) if parts.any() else float(ordered[0])


def boxes(heat: FloatArray, size: tuple[int, int]) -> list[Box]:
    """Find the boxes around the bright regions of an activation map, largest first.

    The map is enlarged to the size of the image (bilinear) and thresholded by `otsu`. Each connected region gives a
    box. Boxes are kept in descending order of area, within the limits CROPS, OVERLAP, WHOLE, MIN_SIDE and MIN_SHARE.

    Args:
        heat: (h, w) activations of one channel, or of a transformer's image tokens on their grid.
        size: height and width of the image in pixels.

    Returns:
        At most CROPS boxes in pixels of the image; none for a map that is constant, empty or not finite.

    Raises:
        DnRError: scipy is not installed.
    """
    scaled = _scaled(heat)
    if scaled is None:
        return []
    with needed():
        from scipy.ndimage import find_objects, label
    large = _enlarged(scaled, size)
    regions, _ = label(large > otsu(large), structure=np.ones((3, 3)))
    found = [Box(rows.start, columns.start, rows.stop, columns.stop) for rows, columns in find_objects(regions)]
    return select(found, size)


def select(found: list[Box], size: tuple[int, int]) -> list[Box]:
    """Choose the boxes to keep in an image of a size (height, width), by the rules of `boxes`."""
    frame = Box(0, 0, *size)
    least = [max(MIN_SIDE, MIN_SHARE * side) for side in size]
    kept: list[Box] = []
    for box in sorted(found, key=lambda box: (-box.area, box)):
        if box.bottom - box.top < least[0] or box.right - box.left < least[1] or box.overlap(frame) >= WHOLE:
            continue
        if len(kept) < CROPS and all(box.overlap(other) <= OVERLAP for other in kept):
            kept.append(box)
    return kept


def located(heat: Heat, size: tuple[int, int]) -> list[Box]:
    """Find the boxes of a map that covers part of an image of a size (height, width), in pixels of that image."""
    top, left, bottom, right = heat.view
    found = []
    for box in boxes(heat.values, (bottom - top, right - left)):
        inside = Box(
            max(box.top + top, 0),
            max(box.left + left, 0),
            min(box.bottom + top, size[0]),
            min(box.right + left, size[1]),
        )
        if inside.top < inside.bottom and inside.left < inside.right:
            found.append(inside)
    return found


def _scaled(heat: FloatArray) -> FloatArray | None:
    """Scale a map (h, w) to the range from 0 to 1, float64; None if it is constant, empty or not finite."""
    if not heat.size or not np.isfinite(heat).all():
        return None
    scaled = heat.astype(np.float64)
    # Dividing by the largest value first avoids overflow in the span.
    scaled = scaled / (np.abs(scaled).max() or 1.0)
    span = np.ptp(scaled)
    return (scaled - scaled.min()) / span if span else None


def _enlarged(heat: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Resize a map (h, w) to the pixels of an image, float64."""
    import torch
    from torch.nn.functional import interpolate

    large = interpolate(torch.from_numpy(heat)[None, None], size=size, mode="bilinear", align_corners=False)
    result: FloatArray = large[0, 0].numpy()
    return result
