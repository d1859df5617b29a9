"""Decodes image files to upright RGB pixels of bounded size."""

from __future__ import annotations

import contextlib
import hashlib
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from dnr_env.types import FloatArray, ImageArray

READING = 1
"""A version number. It changes whenever the decoding of a file changes."""
LONGEST = 1024
"""The most pixels on the longer side. Larger images are reduced when they are read; targets see about 224."""
HEIC = "HEIC, to be converted to JPEG"
"""The reason why a HEIC or HEIF file is not used: Pillow does not read the format."""
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")


class UnusableImage(Exception):
    """The image is skipped. The message gives the reason in a word or two."""


@cache
def _formats() -> list[str]:
    """The formats that are decoded. They exclude formats that start other programs, as EPS does."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def read_file(source: Path | IO[bytes]) -> ImageArray:
    """Read a file as (height, width, 3) uint8: upright, on white, with a longer side of at most LONGEST.

    The image of an animation is its first frame.

    Args:
        source: the path of the file, or an open file at its beginning.

    Raises:
        UnusableImage: the file is broken or not an image, or Pillow refuses it as a decompression bomb.
    """
    try:
        with Image.open(source, formats=_formats()) as image:
            # A JPEG decodes faster at a fraction of its size. Twice LONGEST leaves enough pixels to reduce smoothly.
            image.draft(image.mode, (2 * LONGEST, 2 * LONGEST))
            image.load()
            return to_rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnusableImage("too large") from None
    except Exception:  # decoders raise OSError, SyntaxError, ValueError, struct.error, EOFError, zlib.error, …
        raise UnusableImage(HEIC if _is_heic(source) else "broken") from None


def _is_heic(source: Path | IO[bytes]) -> bool:
    """Whether a file that could not be read is HEIC under another suffix."""
    with contextlib.suppress(OSError, ValueError):  # a file that is not there, or that the decoder closed
        if isinstance(source, Path):
            with source.open("rb") as file:
                start = file.read(12)
        else:
            source.seek(0)
            start = source.read(12)
        return start[4:8] == b"ftyp" and start[8:] in _HEIC_BRANDS
    return False


def content_key(data_digest: bytes) -> str:
    """The key of an image by the SHA-256 of its file's content: the same in a folder, an archive and a table."""
    return f"file-{READING}:{data_digest.hex()}"


def pixels_key(pixels: ImageArray) -> str:
    """The key of an image that has no file, by its pixels (height, width, 3)."""
    return f"pixels:{pixels.shape[0]}x{pixels.shape[1]}:{hashlib.sha256(pixels.tobytes()).hexdigest()}"


def to_rgb(image: Image.Image) -> ImageArray:
    """Convert an image of any mode to (height, width, 3) uint8: upright, on white, at most LONGEST on a side."""
    with contextlib.suppress(Exception):  # damaged EXIF data is common, and the image is usable without it
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
    """Convert grey values (height, width) of more than 8 bits to uint8.

    16-bit values are scaled by their full range. The range of modes I and F is not recorded: it is taken to be the
    smallest of 0 to 1 (F only), 0 to 255 and 0 to 65535 that holds all values, or else their own minimum to maximum.
    """
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = 0.0, 65535.0
    if not mode.startswith("I;16"):
        ranges = [top for top in (1.0, 255.0, 65535.0) if values.max() <= top and not (top == 1.0 and mode == "I")]
        low, high = (0.0, ranges[0]) if ranges and values.min() >= 0 else (values.min(), values.max())
    scaled: FloatArray = (values - low) / (high - low or 1.0) * 255
    return np.rint(scaled).astype(np.uint8)
