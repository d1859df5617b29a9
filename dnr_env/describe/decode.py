"""An image file, whatever is in it, as upright RGB pixels of bounded size; or a reason why there are none."""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dnr_env.types import FloatArray, ImageArray

READING = 1
"""Changes with how a file's bytes become pixels."""
LONGEST = 1024
"""Pixels: larger images are reduced to this on their longer side when they are read. Targets see 224 or so."""
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")


class Unusable(Exception):
    """An image that is passed over. The text is the reason, in a word or two."""


@cache
def _formats() -> list[str]:
    """The formats that files are tried for: not those that start programs, as EPS does."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def read_file(path: Path) -> ImageArray:
    """The image in a file, (height, width, 3) uint8: turned upright, over white, its longer side at most LONGEST.

    Of an animation it is the first frame.

    Raises:
        Unusable: the file is broken, not an image, or so large when unpacked that Pillow takes it for an attack.
    """
    try:
        with Image.open(path, formats=_formats()) as image:
            # JPEG decodes at a fraction of the size for less work; twice LONGEST leaves the reduction its smoothness.
            image.draft(image.mode, (2 * LONGEST, 2 * LONGEST))
            image.load()
            return to_rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unusable("too large") from None
    except Exception:  # decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError, zlib.error, …
        raise Unusable("broken") from None


def to_rgb(image: Image.Image) -> ImageArray:
    """An image of any mode as (height, width, 3) uint8, upright, over white, its longer side at most LONGEST."""
    with contextlib.suppress(Exception):  # damaged EXIF, of which there is much, leaves the picture as it lies
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("LA") if image.mode == "La" else image
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    pixels: ImageArray = np.array(image)
    return pixels


def _eight_bits(values: FloatArray, mode: str) -> ImageArray:
    """Grey values (height, width) of more than 8 bits to uint8.

    16-bit values are scaled by their full range. Modes I and F do not say their range: it is the smallest of 0 to 1
    (F alone), 255 and 65535 that holds all values, or else from the lowest to the highest.
    """
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = 0.0, 65535.0
    if not mode.startswith("I;16"):
        ranges = [top for top in (1.0, 255.0, 65535.0) if values.max() <= top and not (top == 1.0 and mode == "I")]
        low, high = (0.0, ranges[0]) if ranges and values.min() >= 0 else (values.min(), values.max())
    scaled: FloatArray = (values - low) / (high - low or 1.0) * 255
    return np.rint(scaled).astype(np.uint8)
