"""Pictures of a page: a thumbnail in it, the full picture in a folder beside it."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dnr_env.files import make_folder, write_atomically
from dnr_env.types import ImageArray, Images

SIDE = 160
"""Pixels of a thumbnail's longer side, at most."""


@dataclass(frozen=True)
class Picture:
    """A picture as a page shows it."""

    uri: str
    """The thumbnail, as a data URI."""
    href: str
    """The full picture, relative to the page; "" where there is no folder."""
    caption: str
    over: str = ""
    """The thumbnail with a heat map over it, as a data URI; "" where there is none."""


class Album:
    """Pictures of one page.

    Args:
        folder: of the page; None for a page without files beside it.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder / "pictures" if folder else None

    def show(self, image: ImageArray, caption: str = "", over: ImageArray | None = None) -> Picture:
        """A picture (height, width, 3), written once however often it is shown, and its overlay if it has one."""
        href = ""
        if self.folder:
            make_folder(self.folder)
            name = f"{hashlib.sha256(f'{image.shape}'.encode() + image.tobytes()).hexdigest()[:24]}.png"
            if not (self.folder / name).exists():
                write_atomically(self.folder / name, encoded(image, "PNG"))
            href = f"{self.folder.name}/{name}"
        return Picture(thumbnail(image), href, caption, "" if over is None else thumbnail(over))


def thumbnail(image: ImageArray) -> str:
    """A picture of at most SIDE pixels as a data URI."""
    return _uri("webp", encoded(small(image), "WEBP"))


def small(image: ImageArray) -> ImageArray:
    """A picture of at most SIDE pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((SIDE, SIDE))
    return np.asarray(picture)


def strip(images: Images, height: int = 96) -> str:
    """The images of `joined` as a data URI."""
    return _uri("webp", joined(images, height))


def joined(images: Images, height: int) -> bytes:
    """Images (height, width, 3) side by side, of one height in pixels or less, as a WebP file."""
    height = min(height, max(len(image) for image in images))
    gap = np.full((height, 3, 3), 255, np.uint8)
    return encoded(np.concatenate([part for image in images for part in (_scaled(image, height), gap)], axis=1), "WEBP")


def png(path: Path) -> str:
    """A PNG file as a data URI."""
    return _uri("png", path.read_bytes())


def _scaled(image: ImageArray, height: int) -> ImageArray:
    if len(image) == height:
        return image
    return np.asarray(Image.fromarray(image).resize((max(1, image.shape[1] * height // len(image)), height)))


def encoded(image: ImageArray, kind: str) -> bytes:
    """A picture as a file of a kind, "PNG" or "WEBP"."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind, quality=85)
    return out.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
